// Holds the answers of the stores of Azurite as `indexes.cjs` changes them against those of the stores as they are: many random calls on both.
"use strict";

const assert = require("node:assert");

const load = () => ({
  Queues: require("azurite/dist/src/queue/persistence/LokiQueueMetadataStore").default,
  Tables: require("azurite/dist/src/table/persistence/LokiTableMetadataStore").default,
});
const original = load();
for (const file of Object.keys(require.cache)) delete require.cache[file];
require("./indexes.cjs");
const indexed = load();
assert.notStrictEqual(original.Queues, indexed.Queues);

// Numbers that are the same in every run.
let seed = 1;
const below = (count) => {
  seed = (seed * 1103515245 + 12345) % 2147483648;
  return Math.floor((seed / 2147483648) * count);
};
const pick = (list) => list[below(list.length)];

/** The result of a call, or its error, as text. */
const outcome = async (store, method, args) => {
  try {
    return JSON.stringify({ result: (await store[method](...structuredClone(args))) ?? null }, (key, value) => (key === "$loki" || key === "meta" ? undefined : value));
  } catch (error) {
    assert.ok(error.statusCode, error);
    return JSON.stringify({ status: error.statusCode, code: error.storageErrorCode, message: error.message });
  }
};

const both = async (Original, Indexed) => {
  const stores = [new Original("none", true), new Indexed("none", true)];
  for (const store of stores) await store.init();
  return async (method, ...args) => {
    const [first, second] = [await outcome(stores[0], method, args), await outcome(stores[1], method, args)];
    assert.strictEqual(second, first, `${method} ${JSON.stringify(args)}`);
    return JSON.parse(first).result;
  };
};

const queues = async () => {
  const call = await both(original.Queues, indexed.Queues);
  const names = ["one", "two", "none"];
  for (const name of names.slice(0, 2)) await call("createQueue", { accountName: "a", name });
  const now = Date.now();
  // Whatever was received or put, with its receipt, right or wrong.
  const seen = [];
  const seeing = { delivered: 0, lost: 0 };
  for (let step = 0; step < 6000; step++) {
    const queue = pick(names);
    const at = new Date(now + below(200));
    const message = () => {
      const { messageId, queueName, popReceipt } = seen.length > 0 && below(9) > 0 ? pick(seen) : { messageId: "gone", queueName: queue, popReceipt: "none" };
      return { messageId, queueName: below(20) > 0 ? queueName : queue, popReceipt: below(9) > 0 ? popReceipt : "wrong" };
    };
    const kind = below(1000);
    if (kind < 350) {
      // A few have expired already.
      const expirationTime = new Date(below(40) === 0 ? now - 1000 : now + 1e9);
      const put = { accountName: "a", queueName: queue, messageId: `m${step}`, popReceipt: `p${step}`, timeNextVisible: at, insertionTime: at, expirationTime, dequeueCount: 0 };
      await call("insertMessage", { ...put, persistency: { id: `e${step}`, offset: 0, count: 1 } });
      if (queue !== "none") seen.push(put);
    } else if (kind < 600) {
      const received = await call("getMessages", "a", queue, new Date(now + below(300)), `p${step}`, pick([undefined, 0, 1, 5, 32]), at);
      for (const { messageId } of received ?? []) {
        const known = seen.find((other) => other.messageId === messageId);
        known.popReceipt = `p${step}`;
        seeing.delivered++;
      }
    } else if (kind < 700) {
      await call("peekMessages", "a", queue, pick([undefined, 1, 32]), at);
    } else if (kind < 850) {
      const { messageId, queueName, popReceipt } = message();
      const update = { accountName: "a", queueName, messageId, popReceipt: `p${step}`, timeNextVisible: at };
      const done = await call("updateMessage", below(2) > 0 ? update : { ...update, persistency: { id: `u${step}`, offset: 0, count: 2 } }, popReceipt);
      if (done === null) seen.find((other) => other.messageId === messageId).popReceipt = `p${step}`;
      else seeing.lost++;
    } else if (kind < 980) {
      const { messageId, queueName, popReceipt } = message();
      await call("deleteMessage", "a", queueName, messageId, popReceipt);
    } else if (kind < 995) {
      await call("getMessagesCount", "a", queue);
    } else if (kind < 998) {
      await call("clearMessages", "a", queue);
    } else {
      await call("deleteQueue", "a", queue);
      if (queue !== "none") await call("createQueue", { accountName: "a", name: queue });
    }
  }
  assert.ok(seeing.delivered > 500 && seeing.lost > 100, JSON.stringify(seeing));
};

const tables = async () => {
  const call = await both(original.Tables, indexed.Tables);
  await call("createTable", {}, { account: "a", table: "rows" });
  const keys = ["x", "y", "it's", "", "Ä"];
  const row = (step) => ({
    PartitionKey: pick(keys),
    RowKey: `r${below(12)}`,
    eTag: `W/"${step}"`,
    lastModifiedTime: "2020-01-01T00:00:00Z",
    properties: { N: below(5) },
  });
  let found = 0;
  for (let step = 0; step < 4000; step++) {
    const entity = row(step);
    const kind = below(100);
    const batch = "";
    if (kind < 25) await call("insertTableEntity", {}, "rows", "a", entity, batch);
    else if (kind < 40) await call("insertOrUpdateTableEntity", {}, "rows", "a", entity, pick([undefined, "*", 'W/"1"']), batch);
    else if (kind < 55) await call("insertOrMergeTableEntity", {}, "rows", "a", entity, pick([undefined, "*", 'W/"1"']), batch);
    else if (kind < 65) await call("deleteTableEntity", {}, "rows", "a", entity.PartitionKey, entity.RowKey, pick(["*", 'W/"1"']), batch);
    else if (kind < 75) {
      // A batch that touches each row once, half of them undone.
      const id = `b${step}`;
      const part = (RowKey) => ({ ...row(step), PartitionKey: entity.PartitionKey, RowKey });
      await call("beginBatchTransaction", id);
      for (const key of ["r1", "r2", "r3"]) await call("insertOrUpdateTableEntity", {}, "rows", "a", part(key), undefined, id);
      await call("insertOrMergeTableEntity", {}, "rows", "a", part("r4"), undefined, id);
      await call("deleteTableEntity", {}, "rows", "a", entity.PartitionKey, "r5", "*", id);
      await call("endBatchTransaction", "a", "rows", id, {}, below(2) > 0);
    } else {
      const key = `PartitionKey eq '${pick(keys).replace("'", "''")}'`;
      const filter = pick([key, `${key} and N ge 2`, `(RowKey lt 'r5') and (${key})`, `${key} or N eq 1`, `not (${key})`, `${key} and PartitionKey eq 'x'`, "N eq 3", undefined, "PartitionKey eq"]);
      const answer = await call("queryTableEntities", {}, "a", "rows", { filter, top: pick([undefined, 3]) });
      if (answer?.[1]) {
        const next = answer.slice(1);
        await call("queryTableEntities", {}, "a", "rows", { filter, top: 3 }, ...next);
      }
      found += answer?.[0].length ?? 0;
    }
  }
  assert.ok(found > 1000, found);
};

queues().then(tables).catch((error) => {
  console.error(error);
  process.exit(1);
});
