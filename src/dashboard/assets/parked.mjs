// Parked messages: which, why, and putting them back or dropping them.

import { ask, get } from "./api.mjs";
import { ago, link } from "./badge.mjs";
import { question } from "./dialog.mjs";
import { h, replace, say } from "./dom.mjs";
import { may } from "./session.mjs";
import { table } from "./table.mjs";
import { number, shortened, visible } from "./text.mjs";

const EVERY = 30_000;

export function parked(route, live) {
  const body = h("div");
  let last = "";
  return {
    title: "Parked messages",
    root: h(
      "div",
      {},
      h("h1", {}, "Parked messages"),
      h(
        "p",
        { class: "lead" },
        "Messages that workers could not read, or that kept failing. Repair the cause, then put them back; what waits for a message that is dropped waits for ever.",
      ),
      body,
    ),
    every: EVERY,
    turn: () => true,
    async refresh(signal) {
      const { text, data } = await get(["parked"], { signal });
      if (text === last) return;
      last = text;
      replace(body, drawn(data.messages, live));
    },
  };
}

function drawn(messages, live) {
  const heads = [["Instance"], ["Event"], ["Parked"], ["Receives", "number"], ["Reason"], ["Queue"], ["Do"]];
  const row = (message) => [
    message.instanceId
      ? link(message.instanceId, { most: 40, key: `of ${message.id}` })
      : h("span", { class: "none" }, "cannot be read"),
    message.eventType ? h("bdi", {}, visible(message.eventType)) : h("span", { class: "none" }, "cannot be read"),
    ago(message.parkedTime),
    number(message.dequeueCount),
    h("bdi", { class: "reason" }, visible(message.reason)),
    h("span", { class: "id" }, visible(message.queue)),
    h("span", { class: "actions" }, doing(message, live)),
  ];
  return table("Parked messages", heads, messages.map(row), "No message is parked. That is as it should be.");
}

function doing(message, live) {
  const of = shortened(message.instanceId ?? message.id, 60);
  const retry = {
    title: "Put the message back?",
    text: `The message of “${of}” goes back into its queue, and is worked on again.`,
    yes: "Put back",
    done: "The message is back in its queue.",
    send: ["POST", ["parked", message.id, "retry"]],
  };
  const drop = {
    title: "Drop the message?",
    text: `The message of “${of}” is deleted for good. What waits for it waits for ever.`,
    yes: "Drop",
    isDangerous: true,
    done: "The message was dropped.",
    send: ["DELETE", ["parked", message.id]],
  };
  const button = (what, label, kind) =>
    h(
      "button",
      {
        type: "button",
        class: kind,
        "data-key": `${label} ${message.id}`,
        "aria-label": `${label}: the message of ${of}`,
        onclick: () => act(what, live),
      },
      `${label}…`,
    );
  return [may("operate") && button(retry, "Put back", ""), may("admin") && button(drop, "Drop", "danger-quiet")];
}

async function act(what, live) {
  if ((await question(what)) === null) return;
  try {
    await ask(...what.send);
    say(what.done);
  } catch (error) {
    say(error.message, true);
  }
  await live.now();
}
