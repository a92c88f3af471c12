// How things stand, by a shape and a word and not by a colour alone; and times and ids as all views show them.

import { h } from "./dom.mjs";
import { instance } from "./route.mjs";
import { now } from "./session.mjs";
import { local, relative, shortened, span, utc, visible } from "./text.mjs";

const SHAPES = {
  Pending: "◌",
  Running: "▶",
  Suspended: "‖",
  Completed: "✓",
  Failed: "✕",
  Terminated: "■",
  Canceled: "■",
  ContinuedAsNew: "↻",
};

export const STATUSES = Object.keys(SHAPES);

export function ended(status) {
  return ["Completed", "Failed", "Terminated", "Canceled"].includes(status);
}

export function status(name, isParked = false) {
  const shape = h("span", { class: "shape", "aria-hidden": "true" }, SHAPES[name] ?? "?");
  const more = isParked && h("span", { class: "note" }, " (a message is parked)");
  return h("span", { class: `badge is-${name.toLowerCase()}` }, shape, " ", name, more);
}

/** A time that is told as how long ago it is, and in full when it is pointed at. */
export function ago(time) {
  if (!time) return h("span", { class: "none" }, "–");
  const title = `${local(time)} (${utc(time)})`;
  return h("time", { datetime: time, title, "data-ago": time }, relative(time, now()));
}

/** A time in the zone of who looks. */
export function time(at) {
  return at ? h("time", { datetime: at, title: utc(at) }, local(at)) : h("span", { class: "none" }, "–");
}

/** Brings the times that are told as how long ago they are up to date. */
export function tick() {
  for (const element of document.querySelectorAll("time[data-ago]")) {
    const words = relative(element.dataset.ago, now());
    if (element.textContent !== words) element.textContent = words;
  }
}

/** How long an instance has taken, or takes up to now. */
export function took(row) {
  if (!row.createdTime) return "–";
  const end = ended(row.runtimeStatus) ? Date.parse(row.completedTime ?? row.lastUpdatedTime) : now();
  return span(end - Date.parse(row.scheduledStartTime ?? row.createdTime));
}

/** The link to an instance, by its id. `most`: how much of it is shown. */
export function link(id, { most = 60, key } = {}) {
  return h("a", { href: instance(id), class: "id", title: visible(id), "data-key": key }, h("bdi", {}, shortened(id, most)));
}

/** A name that somebody has chosen. */
export function name(text, most = 80) {
  return h("bdi", { class: "name", title: visible(text) }, shortened(text, most));
}

/** Copies a text, and says so. */
export function copy(text, label, key) {
  const button = h("button", { type: "button", class: "quiet", "aria-label": `Copy ${label}`, "data-key": key }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  return button;
}
