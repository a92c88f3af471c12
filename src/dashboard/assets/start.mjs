// Starting an instance.

import { whyNoJson } from "./actions.mjs";
import { ask } from "./api.mjs";
import { question } from "./dialog.mjs";
import { say } from "./dom.mjs";
import { go, instance } from "./route.mjs";
import { shortened } from "./text.mjs";

const FIELDS = [
  { name: "name", label: "Orchestrator", required: true },
  { name: "instanceId", label: "Instance id", hint: "Empty: a generated one" },
  { name: "input", label: "Input, as JSON", kind: "json", value: "null" },
  { name: "version", label: "Version", hint: "Empty: none" },
  { name: "startAt", label: "Not before", kind: "time", hint: "Empty: at once" },
];

export async function start(live) {
  const text = "An instance begins as soon as a worker takes it.";
  const values = await question({
    title: "Start an orchestration",
    text,
    fields: FIELDS,
    yes: "Start",
    check: ({ input }) => whyNoJson(input),
  });
  if (values === null) return;
  const { name, instanceId, input, version, startAt } = values;
  const at = startAt === "" ? undefined : new Date(startAt).toISOString();
  const rest = JSON.stringify({ name, instanceId: instanceId || undefined, version: version || undefined, startAt: at });
  // The input goes as the text that it is: its numbers may be longer than those of JavaScript.
  const body = `${rest.slice(0, -1)},"input":${input}}`;
  try {
    const started = JSON.parse(await ask("POST", ["instances"], { body }));
    say(`“${shortened(started.id, 100)}” was started.`);
    go(instance(started.id));
  } catch (error) {
    say(`The start was refused: ${error.message}`, true);
    await live.now();
  }
}
