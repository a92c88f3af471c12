// A stored text or JSON value: pretty, cut where it is long, to be copied as it is stored.

import { copy } from "./badge.mjs";
import { h } from "./dom.mjs";
import { Payload, pretty } from "./json.mjs";
import { counted, visibleLines } from "./text.mjs";

/** More is shown when it is asked for. */
const SHOWN = 2000;
const LINES = 40;
/** Which are shown in full, by their labels; for this tab. */
const opened = new Set();

/** The JSON or text of a payload on lines; one that is JSON in a string is told as that. */
export function lines(payload) {
  return payload.text.startsWith('"') ? payload.plain : pretty(payload.text);
}

/** A block with a heading. `key` names it among all that may be opened. */
export function block(label, payload, key) {
  const text = visibleLines(payload instanceof Payload ? lines(payload) : String(payload));
  const raw = payload instanceof Payload ? payload.plain : String(payload);
  const short = cut(text);
  const code = h("pre", { class: "payload", tabindex: "0", role: "group", "aria-label": label });
  const size = h("span", { class: "hint" }, counted(raw.length, "character"));
  const more = h("button", { type: "button", class: "quiet", "data-key": `more ${key}` });
  const draw = () => {
    const isOpen = opened.has(key);
    code.textContent = isOpen || short === text ? text : `${short}…`;
    more.textContent = isOpen ? "Show less" : "Show all";
    more.setAttribute("aria-expanded", String(isOpen));
    more.setAttribute("aria-label", `${more.textContent} of ${label}`);
  };
  more.addEventListener("click", () => {
    if (!opened.delete(key)) opened.add(key);
    draw();
  });
  draw();
  const tools = h("div", { class: "payload-tools" }, size, short !== text && more, copy(raw, label, `copy ${key}`));
  return h("section", { class: "block" }, h("div", { class: "block-head" }, h("h2", {}, label), tools), code);
}

function cut(text) {
  let end = Math.min(text.length, SHOWN);
  for (let at = -1, line = 0; line < LINES; line += 1) {
    at = text.indexOf("\n", at + 1);
    if (at < 0) break;
    if (line === LINES - 1) end = Math.min(end, at);
  }
  return text.slice(0, end);
}
