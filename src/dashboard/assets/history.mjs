// The events of an instance, searched and one by one.

import { link, name, time } from "./badge.mjs";
import { reading } from "./dialog.mjs";
import { h } from "./dom.mjs";
import { Payload } from "./json.mjs";
import { block } from "./payload.mjs";
import { facts } from "./table.mjs";
import { clock, counted, needsDays, number, shortened, utc, visible } from "./text.mjs";
import { windowed } from "./windowed.mjs";

/** The marks around each turn, which say nothing of what the instance did. */
const TURNS = ["OrchestratorStarted", "OrchestratorCompleted"];

/** Gives the element, `update` for other events, and `open` to read one by its number. */
export function history(search, onSearch) {
  const field = h("input", {
    type: "search",
    id: "history-search",
    value: search,
    placeholder: "type, name, id, text",
    autocomplete: "off",
    spellcheck: "false",
  });
  const turns = h("input", { type: "checkbox", id: "history-turns" });
  const found = h("span", { class: "hint", role: "status" });
  let events = [];
  let texts = [];
  let withDays = false;
  const open = (at) => events[at] && reading(`Event ${at + 1}: ${events[at].eventType}`, details(events[at], at));
  const rows = windowed({
    label: "History",
    columns: [["#", "number on-wide"], ["Time"], ["Event"], ["Name"], ["Says", "on-wide"]],
    row: (at) => row(events[at], at, open, withDays),
    empty: "No event matches.",
  });
  const draw = () => {
    const wanted = field.value.trim().toLowerCase();
    const all = events
      .map((_, at) => at)
      .filter((at) => (turns.checked || !TURNS.includes(events[at].eventType)) && (wanted === "" || textOf(at).includes(wanted)));
    found.textContent =
      all.length === events.length
        ? counted(events.length, "event")
        : `${number(all.length)} of ${counted(events.length, "event")}`;
    rows.update(all);
  };
  const textOf = (at) => (texts[at] ??= searchable(events[at], at));
  turns.addEventListener("change", draw);
  let timer;
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      onSearch(field.value);
      draw();
    }, 150);
  });
  const head = h(
    "div",
    { class: "fields" },
    h("div", { class: "field" }, h("label", { for: "history-search" }, "Search the history"), field),
    h("div", { class: "field check" }, turns, h("label", { for: "history-turns" }, "Begin and end of turns too")),
    found,
  );
  return {
    element: h("div", { class: "history" }, head, rows.element),
    open,
    update(next) {
      events = next;
      withDays = events.length > 0 && needsDays(Date.parse(events.at(-1).timestamp) - Date.parse(events[0].timestamp));
      texts = [];
      draw();
    },
  };
}

/** All that an event says, in lower case. */
function searchable(event, at) {
  const said = (value) =>
    value instanceof Payload
      ? value.text
      : typeof value === "object" && value !== null
        ? Object.values(value).map(said).join(" ")
        : String(value ?? "");
  return `${at + 1} ${said(event)}`.toLowerCase();
}

function row(event, at, open, withDays) {
  const type = event.takenBack ? `${event.takenBack} (taken back)` : event.eventType;
  const isFailed = /Failed$/.test(event.eventType) || event.failureDetails;
  return {
    class: isFailed ? "is-failed" : undefined,
    cells: [
      h("td", { class: "number on-wide" }, number(at + 1)),
      h("td", {}, h("time", { datetime: event.timestamp, title: utc(event.timestamp) }, clock(event.timestamp, withDays))),
      h(
        "td",
        {},
        h(
          "button",
          {
            type: "button",
            class: "plain",
            "data-key": `event ${at}`,
            "aria-label": `Event ${at + 1}, ${type}`,
            onclick: () => open(at),
          },
          isFailed && h("span", { class: "shape", "aria-hidden": "true" }, "✕ "),
          type,
        ),
      ),
      h("td", {}, named(event)),
      h("td", { class: "on-wide says" }, h("bdi", {}, shortened(says(event), 120))),
    ],
  };
}

function named(event) {
  const task = event.taskScheduledId ?? event.timerId ?? (event.eventId >= 0 ? event.eventId : undefined);
  return [event.name && name(event.name, 40), task !== undefined && h("span", { class: "hint" }, ` #${task}`)];
}

function says(event) {
  const payload = [event.result, event.input].find((value) => value instanceof Payload && !value.isNull);
  return (
    event.failureDetails?.errorMessage ??
    event.reason ??
    payload?.text.slice(0, 400) ??
    (event.fireAt ? `due ${utc(event.fireAt)}` : "")
  );
}

function details(event, at) {
  const texts = [];
  const pairs = Object.entries(event).map(([member, value]) => {
    if (member === "failureDetails" && value) {
      texts.push(...failure(value, `event ${at}`));
      return [member, null];
    }
    if (value instanceof Payload) {
      if (!value.isNull) texts.push(block(member, value, `event ${at} ${member}`));
      return [member, null];
    }
    if (value !== null && typeof value === "object") {
      texts.push(block(member, new Payload(JSON.stringify(value)), `event ${at} ${member}`));
      return [member, null];
    }
    if (member === "instanceId") return [member, link(value)];
    if (["timestamp", "fireAt", "scheduledStartTime"].includes(member)) return [member, time(value)];
    return [member, value === null ? null : h("bdi", {}, visible(value))];
  });
  return [facts(pairs), texts];
}

/** A failure with its causes, as blocks. */
export function failure(details, key) {
  const blocks = [];
  for (let one = details, depth = 0; one && depth < 20; one = one.innerFailure, depth += 1) {
    const label = depth === 0 ? "Failure" : `Cause ${depth}`;
    blocks.push(block(label, `${one.errorType ?? "Error"}: ${one.errorMessage ?? ""}`, `${key} failure ${depth}`));
    if (one.stackTrace)
      blocks.push(block(`Stack trace${depth === 0 ? "" : ` of cause ${depth}`}`, one.stackTrace, `${key} trace ${depth}`));
  }
  return blocks;
}
