// The hub: who owns its partitions, how much waits in its queues and for how long, and code that is missing.

import { get } from "./api.mjs";
import { ago, link, name } from "./badge.mjs";
import { h, replace } from "./dom.mjs";
import { href } from "./route.mjs";
import { facts, table } from "./table.mjs";
import { counted, number, span, visible } from "./text.mjs";

const EVERY = 10_000;

export function hub() {
  const root = h("div", {}, h("h1", {}, "Hub"));
  const body = h("div");
  root.append(body);
  let last = "";
  return {
    title: "Hub",
    root,
    every: EVERY,
    turn: () => true,
    async refresh(signal) {
      const { text, data } = await get(["hub"], { signal });
      if (text === last) return;
      last = text;
      replace(body, drawn(data));
    },
  };
}

function drawn(hub) {
  const at = Date.parse(hub.readAt);
  const waiting = hub.partitions.reduce((sum, partition) => sum + partition.queue.messages, 0);
  const unowned = hub.partitions.filter((partition) => !partition.isOwned).length;
  return [
    facts([
      ["Task hub", name(hub.name)],
      ["Partitions", number(hub.partitions.length)],
      ["Messages in control queues", number(waiting)],
      [
        "Work items",
        [number(hub.workItems.messages), hub.workItems.oldestVisible && [", the oldest waits for ", age(hub.workItems, at)]],
      ],
      ["Parked messages", hub.parked === 0 ? "none" : h("a", { href: href(["parked"]) }, number(hub.parked))],
      ["App lease", hub.appLeaseOwner ? h("bdi", { class: "id" }, visible(hub.appLeaseOwner)) : "not taken"],
    ]),
    warning(hub, unowned),
    h("h2", {}, "Partitions and their owners"),
    table(
      "Partitions",
      [["Partition"], ["Messages", "number"], ["Oldest waits"], ["Owner"], ["Next owner"], ["Lease"]],
      hub.partitions.map((partition) => row(partition, at)),
      "The hub has no partitions.",
    ),
    h("h2", {}, "Code that is waited for"),
    table(
      "Code that is waited for",
      [["Kind"], ["Name"], ["Waits since"], ["Instances", "number"], ["Example"], ["Perhaps"]],
      hub.awaited.map(awaited),
      "None: every message has a worker that hosts its code, or has yet to be seen.",
    ),
    hub.draining.length > 0 && [
      h("h2", {}, "Drained"),
      table(
        "Drained orchestrators",
        [["Orchestrator"], ["Version"], ["Since"]],
        hub.draining.map((one) => [name(one.name), one.version ? name(one.version) : "all", ago(one.since)]),
        "",
      ),
    ],
  ];
}

function warning(hub, unowned) {
  if (hub.isRunWithBlobLeases)
    return h(
      "p",
      { class: "alert" },
      "Owners are not shown: the .NET workers of this hub manage its partitions by leases of blobs.",
    );
  if (unowned === hub.partitions.length)
    return h("p", { class: "alert" }, "No worker owns a partition: nothing runs until one is started.");
  if (unowned > 0)
    return h(
      "p",
      { class: "alert" },
      `${counted(unowned, "partition")} without an owner: instances there wait until a worker claims it.`,
    );
  return null;
}

function age(queue, at) {
  return queue.oldestVisible
    ? h(
        "time",
        { datetime: queue.oldestVisible, title: visible(queue.oldestVisible) },
        span(at - Date.parse(queue.oldestVisible)),
      )
    : h("span", { class: "none" }, "nothing waits");
}

function row(partition, at) {
  const lease = partition.isDraining
    ? "being handed over"
    : partition.isOwned
      ? `for ${span(Date.parse(partition.expiresAt) - at)}`
      : partition.owner
        ? "expired"
        : "free";
  return [
    h("span", { class: "id" }, visible(partition.queue.name)),
    number(partition.queue.messages),
    age(partition.queue, at),
    partition.owner ? name(partition.owner, 40) : h("span", { class: "none" }, "nobody"),
    partition.nextOwner ? name(partition.nextOwner, 40) : "",
    h("span", { class: partition.isOwned ? "" : "is-bad" }, lease),
  ];
}

function awaited(one) {
  const what = one.version ? [name(one.name), h("span", { class: "hint" }, " ", name(one.version))] : name(one.name);
  return [
    one.kind,
    what,
    ago(one.since),
    one.instances === null ? "–" : number(one.instances),
    one.instanceId ? link(one.instanceId, { most: 30 }) : "",
    one.suggestion ? name(one.suggestion) : "",
  ];
}
