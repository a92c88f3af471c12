// The workers of the hub, and what their calls of storage cost.

import { get } from "./api.mjs";
import { ago, name } from "./badge.mjs";
import { h, replace } from "./dom.mjs";
import { facts, table } from "./table.mjs";
import { money, number, span } from "./text.mjs";

/** Workers report every five minutes. */
const EVERY = 60_000;
const MONTH = 30 * 24 * 3_600_000;
/** A shorter time tells nothing about a month. */
const TELLING = 600_000;

const KINDS = {
  tableRead: "Reads of one row",
  tableQuery: "Queries of tables",
  tableWrite: "Writes of one row",
  tableBatch: "Transactions of tables",
  queue: "Messages and queues",
  poll: "Receives that brought nothing",
  blobRead: "Reads of blobs",
  blobWrite: "Writes of blobs",
  blobList: "Listings of blobs",
  blobDelete: "Deletions of blobs",
};

export function workers() {
  const body = h("div");
  let last = "";
  return {
    title: "Workers and cost",
    root: h("div", {}, h("h1", {}, "Workers and cost"), body),
    every: EVERY,
    turn: () => true,
    async refresh(signal) {
      const [hub, usage] = await Promise.all([get(["hub"], { signal }), get(["usage"], { signal })]);
      if (hub.text + usage.text === last) return;
      last = hub.text + usage.text;
      replace(body, drawn(hub.data, usage.data));
    },
  };
}

function drawn(hub, usage) {
  const { currency } = usage.prices;
  const cost = (calls) => money(calls.cost, currency);
  const owned = new Map();
  for (const partition of hub.partitions.filter((partition) => partition.isOwned))
    owned.set(partition.owner, (owned.get(partition.owner) ?? 0) + 1);
  const counting = new Set(usage.workers.map((worker) => worker.worker));
  const silent = [...owned.keys()]
    .filter((owner) => !counting.has(owner))
    .map((owner) => [
      name(owner, 40),
      number(owned.get(owner)),
      h("span", { class: "none" }, "has not reported yet, which takes five minutes, or is a .NET worker"),
      "",
      "",
      "",
      "",
      "",
    ]);
  const rows = [...usage.workers.map((worker) => row(worker, owned.get(worker.worker) ?? 0, cost, currency)), ...silent];
  const heads = [
    ["Worker"],
    ["Partitions", "number"],
    ["Started"],
    ["Last report"],
    ["Calls", "number"],
    ["Empty polls", "number"],
    ["Cost", "number"],
    ["A month", "number"],
  ];
  const kinds = Object.entries(KINDS).filter(([kind]) => usage.total[kind] > 0);
  const price = (kind) =>
    usage.prices[{ poll: "queue", blobDelete: "" }[kind] ?? kind.replace(/[A-Z]/, (c) => `_${c.toLowerCase()}`)] ?? 0;
  return [
    facts([
      ["Workers that have reported", number(usage.workers.length)],
      ["Storage calls", number(usage.total.total)],
      ["Cost", `about ${cost(usage.total)}`],
    ]),
    h("h2", {}, "Workers"),
    table(
      "Workers",
      heads,
      rows,
      "No worker owns a partition, and none has reported yet: each does so five minutes after it began to work.",
    ),
    h("h2", {}, "Cost by kind of call"),
    table(
      "Cost by kind of call",
      [["Kind"], ["Calls", "number"], ["For 10,000", "number"], ["Cost", "number"]],
      kinds.map(([kind, words]) => [
        words,
        number(usage.total[kind]),
        money(price(kind), currency),
        money((usage.total[kind] * price(kind)) / 10_000, currency),
      ]),
      "Nothing was counted yet.",
    ),
    byName("Cost by orchestrator", "Orchestrator", usage, "orchestrators", cost),
    byName("Cost by activity", "Activity", usage, "activities", cost),
    h(
      "p",
      { class: "hint" },
      `These are about the list prices, in ${currency}; those of your account differ. The command “taskhub cost --prices FILE” takes yours.`,
    ),
  ];
}

function row(worker, partitions, cost, currency) {
  const length = Date.parse(worker.until) - Date.parse(worker.since);
  const month = length < TELLING ? "–" : money((worker.calls.cost * MONTH) / length, currency);
  return [
    name(worker.worker, 40),
    partitions === 0 ? h("span", { class: "none" }, "none") : number(partitions),
    ago(worker.since),
    [ago(worker.until), h("span", { class: "hint" }, ` after ${span(length)}`)],
    number(worker.calls.total),
    number(worker.calls.poll),
    cost(worker.calls),
    month,
  ];
}

/** Those first that cost most, of all workers. */
function byName(caption, head, usage, member, cost) {
  const all = new Map();
  for (const worker of usage.workers) {
    for (const [called, calls] of Object.entries(worker[member])) {
      const sum = all.get(called) ?? { total: 0, cost: 0 };
      all.set(called, { total: sum.total + calls.total, cost: sum.cost + calls.cost });
    }
  }
  const rows = [...all]
    .sort(([, a], [, b]) => b.cost - a.cost)
    .map(([called, calls]) => [
      name(called),
      number(calls.total),
      `${Math.round((100 * calls.total) / Math.max(1, usage.total.total))} %`,
      cost(calls),
    ]);
  return [
    h("h2", {}, caption),
    table(caption, [[head], ["Calls", "number"], ["Of all", "number"], ["Cost", "number"]], rows, "Nothing was counted yet."),
  ];
}
