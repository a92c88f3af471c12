// The timeline of an instance as a Gantt chart: a table, of which one column is drawn.

import { link, name } from "./badge.mjs";
import { h, svg } from "./dom.mjs";
import { clock, counted, local, needsDays, span, utc } from "./text.mjs";
import { windowed } from "./windowed.mjs";

const KINDS = { activity: "Activity", child: "Sub-orchestration", timer: "Timer", event: "Event", state: "State", wait: "Wait" };
const OUTCOMES = {
  done: "done",
  failed: "failed",
  open: "under way",
  left: "not waited for",
  takenBack: "taken back by a rewind",
};
/** The same where there is no room. */
const SHORT = { failed: "✕", open: "…", left: "–", takenBack: "↶" };
const TICKS = 4;

/** Gives the element, and `update` for a timeline as `timeline.mjs` has it. `onOpen` is told the number of an event. */
export function gantt(onOpen) {
  const axis = svg("svg", { class: "axis", "aria-hidden": "true" });
  const about = h("p", { class: "hint" });
  let scale = { begin: 0, length: 1, end: 0 };
  const row = (line) => ({
    class: `line is-${line.state}`,
    cells: [
      h("th", { scope: "row", class: "what" }, what(line, onOpen)),
      h("td", { class: "bar-cell" }, bar(line, scale)),
      h(
        "td",
        { class: "on-wide" },
        h(
          "time",
          { datetime: new Date(line.from).toISOString(), title: utc(line.from) },
          clock(line.from, needsDays(scale.length)),
        ),
      ),
      h("td", { class: "number" }, line.isPoint ? "" : span((line.to ?? scale.end) - line.from)),
      h("td", { class: "outcome on-wide" }, outcome(line)),
    ],
  });
  const columns = [
    ["What"],
    [h("span", {}, h("span", { class: "unseen" }, "Drawn"), axis), "bar-cell"],
    ["Began", "on-wide"],
    ["Took", "number"],
    ["Outcome", "on-wide"],
  ];
  const rows = windowed({
    label: "Timeline",
    columns,
    row,
    empty: "Nothing has happened yet: no worker has begun this instance.",
  });
  const root = h("div", { class: "gantt" }, about, legend(), rows.element);
  return {
    element: root,
    update({ lines, begin, end, hasEnded, generation }) {
      scale = { begin, end, length: Math.max(1, end - begin) };
      about.textContent =
        lines.length === 0
          ? ""
          : `${counted(lines.length, "line")}, from ${local(begin)}, ${hasEnded ? "ended after" : "up to now,"} ${span(end - begin)}.${generation > 0 ? ` This is generation ${generation}; the histories of those before are gone.` : ""}`;
      axis.replaceChildren(...ticks(scale));
      rows.update(lines);
    },
  };
}

function what(line, onOpen) {
  // The labels of all others say what they are.
  const kind = ["activity", "child"].includes(line.kind) && h("span", { class: `kind kind-${line.kind}` }, KINDS[line.kind]);
  const open = h(
    "button",
    { type: "button", class: "plain", "data-key": `line ${line.first}`, onclick: () => onOpen(line.first) },
    name(labelOf(line), 60),
  );
  const attempt = line.attempt > 1 && h("span", { class: "hint" }, ` attempt ${line.attempt}`);
  const short =
    !line.isPoint &&
    line.state !== "done" &&
    h("span", { class: "on-narrow short", role: "img", "aria-label": OUTCOMES[line.state] }, `${SHORT[line.state]} `);
  return [
    kind,
    " ",
    short,
    open,
    attempt,
    line.child !== undefined && [" ", link(line.child, { most: 24, key: `child ${line.first}` })],
  ];
}

/** A timer has no name: it is known by its length. */
function labelOf(line) {
  return line.kind === "timer" && line.due ? `Timer of ${span(line.due - line.from)}` : line.label;
}

function outcome(line) {
  const due = line.kind === "timer" && line.state === "open" ? `due ${local(line.due)}` : "";
  const words = line.isPoint ? line.detail : [OUTCOMES[line.state], line.detail || due].filter(Boolean).join(": ");
  return [
    line.state === "failed" && h("span", { class: "shape", "aria-hidden": "true" }, "✕ "),
    h("bdi", { title: words }, words),
  ];
}

function percent(time, { begin, length }) {
  return Math.min(100, Math.max(0, (100 * (time - begin)) / length));
}

function bar(line, scale) {
  const from = percent(line.from, scale);
  const drawing = svg("svg", { class: "bar", "aria-hidden": "true", width: "100%", height: "18" });
  if (line.isPoint) {
    const place = svg("svg", { x: `${from}%`, y: "9", overflow: "visible" });
    place.append(svg("path", { d: "M0 -6 L6 0 L0 6 L-6 0 Z", class: `point kind-${line.kind}` }));
    drawing.append(place);
    return drawing;
  }
  const to = percent(line.to ?? (line.state === "takenBack" ? line.from : scale.end), scale);
  const rect = svg("rect", { x: `${from}%`, y: "3", height: "12", rx: "2", class: `span kind-${line.kind}` });
  rect.style.width = `max(3px, ${to - from}%)`;
  drawing.append(rect);
  if (line.state === "failed") {
    const place = svg("svg", { x: `${to}%`, y: "9", overflow: "visible" });
    place.append(svg("path", { d: "M-10 -4 L-2 4 M-10 4 L-2 -4", class: "cross" }));
    drawing.append(place);
  }
  return drawing;
}

function ticks(scale) {
  return Array.from({ length: TICKS + 1 }, (_, at) => {
    const anchor = at === 0 ? "start" : at === TICKS ? "end" : "middle";
    const every = at % TICKS === 0 ? "" : "on-wide";
    return svg(
      "text",
      { x: `${(100 * at) / TICKS}%`, y: "12", "text-anchor": anchor, class: every },
      at === 0 ? "0" : span((scale.length * at) / TICKS),
    );
  });
}

function legend() {
  const one = (kind) => h("li", {}, h("span", { class: `swatch kind-${kind}`, "aria-hidden": "true" }), KINDS[kind]);
  return h("ul", { class: "legend", "aria-label": "Kinds of lines" }, ["activity", "child", "timer", "event", "state"].map(one));
}
