// The client of the npm package `durable-functions` against the HTTP API: by the base URL of the loopback listener of a Functions host, or by
// templates of URLs. Arguments: how (`rpc` or `templates`), the URL of the server, the task hub, a key or nothing. Exit code 0 if all is as its users expect.
"use strict";

const assert = require("node:assert");
const { DurableClient } = require("durable-functions/lib/src/durableClient/DurableClient");
const { OrchestrationClientInputData } = require("durable-functions/lib/src/durableClient/OrchestrationClientInputData");

const [how, server, hub, key] = process.argv.slice(2);

/** What a Functions host tells the client of an app. */
const told = () => {
  const base = `${server}runtime/webhooks/durabletask`;
  const required = `taskHub=${hub}&connection=Storage` + (key ? `&code=${encodeURIComponent(key)}` : "");
  const of = (tail, query = "") => `${base}/instances/INSTANCEID${tail}?${query}${required}`;
  const creation = `${base}/orchestrators/{functionName}[/{instanceId}]?${required}`;
  const creationUrls = { createNewInstancePostUri: creation, createAndWaitOnNewInstancePostUri: creation };
  const managementUrls = {
    id: "INSTANCEID",
    statusQueryGetUri: of(""),
    sendEventPostUri: of("/raiseEvent/{eventName}"),
    terminatePostUri: of("/terminate", "reason={text}&"),
    rewindPostUri: of("/rewind", "reason={text}&"),
    purgeHistoryDeleteUri: of(""),
    suspendPostUri: of("/suspend", "reason={text}&"),
    resumePostUri: of("/resume", "reason={text}&"),
  };
  return new OrchestrationClientInputData(hub, creationUrls, managementUrls, base, required, how === "rpc" ? server : undefined);
};

const client = new DurableClient(told());
const id = (name) => `${how}-${name}`;

/** Looks until the instance has a status. */
const until = async (name, status) => {
  for (let tries = 0; tries < 600; tries++) {
    const found = await client.getStatus(id(name));
    if (found.runtimeStatus === status) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${id(name)} did not become ${status}`);
};

const main = async () => {
  assert.strictEqual(await client.startNew("Greet", { instanceId: id("hello"), input: "Ada" }), id("hello"));
  const greeted = await until("hello", "Completed");
  assert.strictEqual(greeted.output, "Hello, Ada!");
  assert.strictEqual(greeted.input, "Ada");
  assert.ok(greeted.createdTime instanceof Date && !Number.isNaN(greeted.createdTime.getTime()));
  // It asks for the history, and looks for it under another name than the one that a Functions host gives it.
  const shown = await client.getStatusInternal({ instanceId: id("hello"), showHistory: true, showHistoryOutput: true, showInput: false });
  const history = shown.data.historyEvents;
  assert.deepStrictEqual(history.map((event) => event.EventType), ["ExecutionStarted", "TimerCreated", "TimerFired", "TaskCompleted", "ExecutionCompleted"]);
  assert.strictEqual(history[3].Result, "Hello, Ada!");
  const generated = await client.startNew("Greet", { input: "Bob" });
  assert.match(generated, /^[0-9a-f]{32}$/);

  const request = { url: `${server}api/orders`, headers: new Map() };
  const waited = await client.waitForCompletionOrCreateCheckStatusResponse(request, generated, { timeoutInMilliseconds: 60000, retryIntervalInMilliseconds: 100 });
  assert.strictEqual(waited.status, 200);
  assert.strictEqual(await waited.json(), "Hello, Bob!");

  await client.startNew("Approval", { instanceId: id("approval") });
  await until("approval", "Running");
  await client.suspend(id("approval"), "lunch");
  assert.strictEqual((await until("approval", "Suspended")).output, "lunch");
  await client.resume(id("approval"), "back");
  await until("approval", "Running");
  await client.raiseEvent(id("approval"), "approved", true);
  assert.strictEqual((await until("approval", "Completed")).output, true);
  // An instance that has ended takes nothing, which is no error to this client; one that is not there is.
  await client.raiseEvent(id("approval"), "approved", true);
  await assert.rejects(client.raiseEvent(id("nobody"), "approved", true), /No instance with ID/);
  await assert.rejects(client.getStatus(id("nobody")), /404/);

  await client.startNew("Approval", { instanceId: id("endless") });
  await until("endless", "Running");
  await assert.rejects(client.startNew("Approval", { instanceId: id("endless") }), /409|already exists/);
  await client.terminate(id("endless"), "enough");
  assert.strictEqual((await until("endless", "Terminated")).output, "enough");
  await client.terminate(id("endless"), "again");
  await assert.rejects(client.terminate(id("nobody"), "x"), /No instance with ID/);

  await client.startNew("Broken", { instanceId: id("broken") });
  await until("broken", "Failed");
  await client.rewind(id("broken"), "mended");
  await until("broken", "Failed");
  await assert.rejects(client.rewind(id("hello"), "x"), /only orchestrations in the "Failed" state can be rewound/);
  await assert.rejects(client.rewind(id("nobody"), "x"), /No orchestration with instance ID/);

  const all = await client.getStatusAll();
  assert.ok(all.some((instance) => instance.instanceId === id("hello")));
  const failed = await client.getStatusBy({ runtimeStatus: ["Failed"], createdTimeFrom: new Date(0), createdTimeTo: new Date(Date.now() + 60000) });
  assert.ok(failed.length > 0 && failed.every((instance) => instance.runtimeStatus === "Failed"));

  assert.strictEqual((await client.purgeInstanceHistory(id("hello"))).instancesDeleted, 1);
  assert.strictEqual((await client.purgeInstanceHistory(id("hello"))).instancesDeleted, 0);
  const filter = { createdTimeFrom: new Date(0), createdTimeTo: new Date(Date.now() + 60000), runtimeStatus: ["Failed", "Terminated"] };
  assert.strictEqual((await client.purgeInstanceHistoryBy(filter)).instancesDeleted, 2);
  assert.strictEqual((await client.purgeInstanceHistoryBy(filter)).instancesDeleted, 0);
};

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
