// Preloaded into the Azurite of a test process (node --require): a repair of the emulator's speed, not of its behaviour.
//
// Azurite's stores look through everything that they hold: each call on a queue filters the messages of all queues several times and sorts
// what is left, and each query of a partition asks every row of the table: with 10,000 messages in one queue a receive takes 13 ms of
// processor time and a delete 6 ms, and all services stand still meanwhile. Here the same questions are answered from an index, in 0.2 and
// 0.02 ms. The stores' own code stays in charge of everything else, and a question that it has not asked before is an error.
// `indexes.test.cjs` holds the answers against those of the original.
"use strict";

const QueueStore = require("azurite/dist/src/queue/persistence/LokiQueueMetadataStore").default;
const TableStore = require("azurite/dist/src/table/persistence/LokiTableMetadataStore").default;
const Queries = require("azurite/dist/src/table/persistence/LokiTableStoreQueryGenerator").default;
const parse = require("azurite/dist/src/table/persistence/QueryInterpreter/QueryParser").default;
const AndNode = require("azurite/dist/src/table/persistence/QueryInterpreter/QueryNodes/AndNode").default;
const ConstantNode = require("azurite/dist/src/table/persistence/QueryInterpreter/QueryNodes/ConstantNode").default;
const EqualsNode = require("azurite/dist/src/table/persistence/QueryInterpreter/QueryNodes/EqualsNode").default;
const IdentifierNode = require("azurite/dist/src/table/persistence/QueryInterpreter/QueryNodes/IdentifierNode").default;

const known = (condition, question) => {
  if (!condition) {
    throw new Error(`Azurite asks its store a new question, ${JSON.stringify(question)}: adapt indexes.cjs to the pinned version`);
  }
};
const asks = (query, ...fields) => Object.keys(query).sort().join() === fields.sort().join();

// 1. Messages, in place of Loki's collection of them: by queue, then by id and in the order in which they are due.

/** The messages of one queue. */
class Queue {
  byId = new Map();
  /** Sorted by the time of the next visibility, then by insertion. */
  due = [];
  /** No message expires before. */
  expiry = Infinity;

  /** How many entries come before one of this time and number. */
  position(time, number) {
    let [low, high] = [0, this.due.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { time: other, doc } = this.due[middle];
      if (other < time || (other === time && doc.$loki < number)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  add(doc) {
    const entry = { time: Number(doc.timeNextVisible), doc };
    this.byId.set(doc.messageId, entry);
    this.due.splice(this.position(entry.time, doc.$loki), 0, entry);
    this.expiry = Math.min(this.expiry, Number(doc.expirationTime));
  }

  remove(doc) {
    const entry = this.byId.get(doc.messageId);
    this.byId.delete(doc.messageId);
    this.due.splice(this.position(entry.time, doc.$loki), 1);
  }

  visible(time) {
    return this.due.slice(0, this.position(time, Infinity)).map(({ doc }) => doc);
  }

  expired(time) {
    if (time < this.expiry) return [];
    const docs = this.due.map(({ doc }) => doc);
    const expired = docs.filter((doc) => Number(doc.expirationTime) <= time);
    this.expiry = Math.min(...docs.map((doc) => Number(doc.expirationTime)).filter((at) => at > time), Infinity);
    return expired;
  }
}

/** Answers as Loki's collection of messages does. */
class Messages {
  queues = new Map();
  last = 0;

  queue({ accountName, queueName }) {
    const key = `${accountName}/${queueName}`;
    if (!this.queues.has(key)) this.queues.set(key, new Queue());
    return this.queues.get(key);
  }

  insert(doc) {
    doc.$loki = ++this.last;
    this.queue(doc).add(doc);
  }

  update(docs) {
    for (const doc of [docs].flat()) {
      this.remove(doc);
      this.queue(doc).add(doc);
    }
  }

  remove(docs) {
    for (const doc of [docs].flat()) this.queue(doc).remove(doc);
  }

  findOne(query) {
    known(asks(query, "accountName", "queueName", "messageId"), query);
    return this.queue(query).byId.get(query.messageId)?.doc ?? null;
  }

  count(query) {
    known(asks(query, "accountName", "queueName"), query);
    return this.queue(query).due.length;
  }

  findAndRemove(query) {
    known(asks(query, "accountName", "queueName"), query);
    this.queues.delete(`${query.accountName}/${query.queueName}`);
  }

  chain() {
    return {
      find: (query) => {
        const due = asks(query, "accountName", "queueName", "timeNextVisible");
        known(due || asks(query, "accountName", "queueName", "expirationTime"), query);
        const limit = due ? query.timeNextVisible : query.expirationTime;
        known(asks(limit, "$lte"), query);
        const queue = this.queue(query);
        return new Found(due ? queue.visible(limit.$lte) : queue.expired(limit.$lte));
      },
    };
  }
}

/** Messages in the order of their visibility. */
class Found {
  constructor(docs) {
    this.docs = docs;
  }

  compoundsort(order) {
    known(JSON.stringify(order) === '[["timeNextVisible",false],["$loki",false]]', order);
    return this;
  }

  limit(count) {
    return new Found(this.docs.slice(0, count));
  }

  data() {
    return this.docs;
  }
}

const initQueues = QueueStore.prototype.init;
QueueStore.prototype.init = async function () {
  await initQueues.call(this);
  known(this.db.persistenceMethod === "memory", this.db.persistenceMethod);
  const messages = new Messages();
  const getCollection = this.db.getCollection;
  this.db.getCollection = (name) => (name === this.MESSAGES_COLLECTION ? messages : getCollection.call(this.db, name));
};

// 2. The rows of one partition of a table.

/** The partition that all rows for which this query holds belong to. */
const partitionOf = (node) => {
  if (node instanceof AndNode) return partitionOf(node.left) ?? partitionOf(node.right);
  const names = node instanceof EqualsNode && node.left instanceof IdentifierNode && node.left.identifier === "PartitionKey";
  return names && node.right instanceof ConstantNode && typeof node.right.value === "string" ? node.right.value : undefined;
};

const generate = Queries.generateQueryForPersistenceLayer;
Queries.generateQueryForPersistenceLayer = (options, context) => {
  const where = generate.call(Queries, options, context);
  const partition = options.filter ? partitionOf(parse(options.filter)) : undefined;
  return Object.assign((row) => where(row), { partition });
};

/** Rows that are asked one by one. */
class Rows {
  constructor(rows) {
    this.rows = rows;
  }

  where(holds) {
    return new Rows(this.rows.filter(holds));
  }

  sort(order) {
    return new Rows([...this.rows].sort(order));
  }

  limit(count) {
    return new Rows(this.rows.slice(0, count));
  }

  data() {
    return this.rows;
  }
}

const createCollection = TableStore.prototype.createCollectionForTable;
TableStore.prototype.createCollectionForTable = function (table) {
  createCollection.call(this, table);
  const collection = this.db.getCollection(this.getTableCollectionName(table.account, table.table));
  const partitions = new Map();
  const put = (row) => {
    if (!partitions.has(row.PartitionKey)) partitions.set(row.PartitionKey, new Map());
    partitions.get(row.PartitionKey).set(row.$loki, row);
  };
  const remove = (row) => {
    const rows = partitions.get(row.PartitionKey);
    rows.delete(row.$loki);
    if (rows.size === 0) partitions.delete(row.PartitionKey);
  };
  collection.on("insert", (rows) => [rows].flat().forEach(put));
  collection.on("update", (rows) => [rows].flat().forEach(put));
  collection.on("delete", (rows) => [rows].flat().forEach(remove));
  const chain = collection.chain;
  collection.chain = () => {
    const found = chain.call(collection);
    const { where } = found;
    found.where = (holds) => {
      if (holds.partition === undefined) return where.call(found, holds);
      return new Rows([...(partitions.get(holds.partition)?.values() ?? [])].filter(holds));
    };
    return found;
  };
};
