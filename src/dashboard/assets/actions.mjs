// What can be done with an instance, where the key and the state allow it.

import { ask } from "./api.mjs";
import { ended } from "./badge.mjs";
import { question } from "./dialog.mjs";
import { h, say } from "./dom.mjs";
import { go, href, instance as instanceLink } from "./route.mjs";
import { may } from "./session.mjs";
import { shortened } from "./text.mjs";

const REASON = { name: "reason", label: "Reason", hint: "For the history; may be empty" };
const RECURSIVE = { name: "recursive", label: "Its sub-orchestrations too", kind: "check" };

const isOpen = (row) => !ended(row.runtimeStatus) || row.isParked;
const hasEnded = (row) => ended(row.runtimeStatus) && !row.isParked;

/** `fits`: in which states. `send`: what is asked of the API. `text` and `done` get the id, and `done` the values too. */
const ACTIONS = [
  {
    name: "Raise an event",
    scope: "operate",
    fits: isOpen,
    fields: [
      { name: "event", label: "Name of the event", required: true },
      { name: "payload", label: "Payload, as JSON", kind: "json", value: "null" },
    ],
    check: ({ payload }) => whyNoJson(payload),
    send: (id, { event, payload }) => ["POST", ["instances", id, "events", event], { body: payload }],
    text: (id) => `The event goes to ${id}.`,
    done: (id, { event }) => `The event “${event}” was sent to ${id}.`,
  },
  {
    name: "Suspend",
    scope: "operate",
    fits: (row) => isOpen(row) && row.runtimeStatus !== "Suspended",
    fields: [REASON],
    send: (id, { reason }) => ["POST", ["instances", id, "suspend"], { query: { reason } }],
    text: (id) => `${id} takes no further step until it is resumed. Activities that run go on.`,
    done: (id) => `${id} was told to suspend.`,
  },
  {
    name: "Resume",
    scope: "operate",
    fits: (row) => row.runtimeStatus === "Suspended",
    fields: [REASON],
    send: (id, { reason }) => ["POST", ["instances", id, "resume"], { query: { reason } }],
    text: (id) => `${id} goes on where it was suspended.`,
    done: (id) => `${id} was told to go on.`,
  },
  {
    name: "Rewind",
    scope: "operate",
    fits: (row) => row.runtimeStatus === "Failed" && !row.isParked,
    fields: [REASON, { name: "toFirstFailure", label: "Back to its first failure, though that was caught", kind: "check" }],
    send: (id, { reason, toFirstFailure }) => [
      "POST",
      ["instances", id, "rewind"],
      { query: { reason, toFirstFailure: toFirstFailure || undefined } },
    ],
    text: (id) => `${id} goes on from where it failed: what failed runs again, what has completed does not.`,
    done: (id) => `${id} was rewound.`,
  },
  {
    name: "Restart",
    scope: "operate",
    fits: hasEnded,
    fields: [{ name: "newInstanceId", label: "Id of the new instance", hint: "Empty: the same id, whose history is replaced" }],
    send: (id, { newInstanceId }) => ["POST", ["instances", id, "restart"], { query: { newInstanceId } }],
    text: (id) => `What ${id} ran starts again from its beginning, with the same input.`,
    done: (id, { newInstanceId }) =>
      newInstanceId ? `${id} was started again as ${newInstanceId}.` : `${id} was started again.`,
    after: (id, { newInstanceId }) => newInstanceId && go(instanceLink(newInstanceId)),
  },
  {
    name: "Terminate",
    scope: "operate",
    fits: isOpen,
    isDangerous: true,
    fields: [REASON, RECURSIVE],
    send: (id, { reason, recursive }) => [
      "POST",
      ["instances", id, "terminate"],
      { query: { reason, recursive: recursive || undefined } },
    ],
    text: (id) => `${id} ends without running its code again. This cannot be undone.`,
    done: (id) => `${id} was told to end.`,
  },
  {
    name: "Purge",
    scope: "admin",
    fits: hasEnded,
    isDangerous: true,
    fields: [RECURSIVE],
    send: (id, { recursive }) => ["DELETE", ["instances", id], { query: { recursive: recursive || undefined } }],
    text: (id) => `${id} is deleted with its history and payloads. This cannot be undone.`,
    done: (id) => `${id} was deleted.`,
    after: () => go(href(["instances"])),
  },
];

/** The buttons for an instance; none for an entity, with which nothing can be done. */
export function actions(row, live) {
  if (row.instanceId.startsWith("@")) return [];
  const fitting = ACTIONS.filter((action) => may(action.scope) && action.fits(row));
  return fitting.map((action) => {
    const kind = action.isDangerous ? "danger-quiet" : "";
    return h(
      "button",
      { type: "button", class: kind, "data-key": `action ${action.name}`, onclick: () => act(action, row.instanceId, live) },
      `${action.name}…`,
    );
  });
}

async function act(action, id, live) {
  const shown = `“${shortened(id, 100)}”`;
  const { name, fields, check, isDangerous } = action;
  const values = await question({ title: `${name}: ${shown}`, text: action.text(shown), fields, yes: name, isDangerous, check });
  if (values === null) return;
  try {
    await ask(...action.send(id, values));
    say(action.done(shown, values));
    action.after?.(id, values);
  } catch (error) {
    say(`${name} was refused: ${error.message}`, true);
  }
  await live.now();
}

/** What is wrong with a text that is to be JSON. */
export function whyNoJson(text) {
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    return `This is not JSON (${error.message}). A text stands in double quotes.`;
  }
}
