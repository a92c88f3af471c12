// The instances of the hub: filtered, page by page, and refreshed.

import { get } from "./api.mjs";
import { ago, link, name, status, STATUSES, took } from "./badge.mjs";
import { h, replace, uniqueId } from "./dom.mjs";
import { go, href } from "./route.mjs";
import { counted } from "./text.mjs";

/** What the parameters of the page are in the API. */
const FILTERS = {
  prefix: "instanceIdPrefix",
  name: "name",
  status: "runtimeStatus",
  parent: "parent",
  version: "version",
  from: "createdTimeFrom",
  to: "createdTimeTo",
};
/** Those that are seen when they are asked for. */
const MORE = ["parent", "version", "from", "to", "entities", "newest"];
const PAGE = 50;
/** Between two refreshes. The newest first are found by reading all that match. */
const EVERY = 5000;
const EVERY_NEWEST = 30_000;

export function list(route) {
  const rows = h("div");
  const pages = h("div", { class: "pages" });
  const form = filters(route.query);
  const root = h("div", {}, h("h1", {}, "Instances"), form, rows, pages);
  let query = route.query;
  let last = "";
  const view = {
    title: "Instances",
    root,
    get every() {
      return query.get("newest") ? EVERY_NEWEST : EVERY;
    },
    turn(next) {
      query = next.query;
      last = "";
      rows.setAttribute("aria-busy", "true");
      fill(form, query);
      return true;
    },
    async refresh(signal) {
      const { text, data } = await get(["instances"], { query: asked(query), signal });
      if (text === last) return;
      last = text;
      rows.removeAttribute("aria-busy");
      replace(rows, drawn(data.instances, query));
      replace(pages, turns(data, query));
    },
  };
  return view;
}

/** The query of the API. */
function asked(query) {
  const all = Object.entries(FILTERS).map(([here, there]) => [there, query.get(here)]);
  const flags = {
    excludeEntities: query.get("entities") ? undefined : "true",
    newestFirst: query.get("newest") ? "true" : undefined,
    showPayloads: "false",
  };
  return { ...Object.fromEntries(all), ...flags, top: query.get("top") ?? PAGE, continuation: query.get("after") };
}

function filters(query) {
  const id = (field) => `filter-${field}`;
  const text = (field, label, hint) =>
    h(
      "div",
      { class: "field" },
      h("label", { for: id(field) }, label),
      h("input", { id: id(field), name: field, type: "search", placeholder: hint, autocomplete: "off", spellcheck: "false" }),
    );
  const time = (field, label) =>
    h(
      "div",
      { class: "field" },
      h("label", { for: id(field) }, label),
      h("input", { id: id(field), name: field, type: "datetime-local", step: "1" }),
    );
  const check = (field, label) =>
    h(
      "div",
      { class: "field check" },
      h("input", { id: id(field), name: field, type: "checkbox" }),
      h("label", { for: id(field) }, label),
    );
  const chip = (status) => {
    const box = h("input", { type: "checkbox", name: "status", value: status, id: id(status) });
    box.addEventListener("change", () => form.requestSubmit());
    return h("span", { class: "chip" }, box, h("label", { for: id(status) }, status));
  };
  const more = h(
    "details",
    { class: "more" },
    h("summary", {}, "More filters"),
    h(
      "div",
      { class: "fields" },
      text("parent", "Parent"),
      text("version", "Version"),
      time("from", "Created from"),
      time("to", "Created to"),
      check("entities", "Entities too"),
      check("newest", "Newest first (reads all that match)"),
    ),
  );
  const form = h(
    "form",
    { class: "filters", role: "search", "aria-label": "Filter the instances" },
    h(
      "div",
      { class: "fields" },
      text("prefix", "Id begins with", "order-"),
      text("name", "Orchestrator", "exact name"),
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "submit", class: "primary" }, "Filter"),
        h("a", { class: "button", href: href(["instances"]) }, "Clear"),
      ),
    ),
    h("fieldset", { class: "chips" }, h("legend", {}, "Status"), STATUSES.map(chip)),
    more,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(href(["instances"], given(form)));
  });
  fill(form, query);
  return form;
}

/** What the form says, as parameters of the page. Times are given in the zone of who looks. */
function given(form) {
  const data = new FormData(form);
  const text = (field) => String(data.get(field) ?? "").trim();
  const time = (field) => (text(field) === "" ? "" : new Date(text(field)).toISOString());
  // A prefix counts as it is, with its blanks.
  return {
    prefix: data.get("prefix"),
    name: text("name"),
    status: data.getAll("status").join(","),
    parent: data.get("parent"),
    version: text("version"),
    from: time("from"),
    to: time("to"),
    entities: data.get("entities") ? "1" : "",
    newest: data.get("newest") ? "1" : "",
  };
}

function fill(form, query) {
  form.querySelector("details").open ||= MORE.some((field) => query.get(field));
  const statuses = (query.get("status") ?? "").split(",");
  for (const field of form.elements) {
    const value = query.get(field.name) ?? "";
    if (field.name === "status") field.checked = statuses.includes(field.value);
    else if (field.type === "checkbox") field.checked = value !== "";
    else if (field.type === "datetime-local") field.value = value && localInput(value);
    else if (field.name) field.value = value;
  }
}

function localInput(time) {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function drawn(instances, query) {
  if (instances.length === 0) return nothing(query);
  const caption = uniqueId("caption");
  const heads = [
    ["Instance"],
    ["Orchestrator", "on-wide"],
    ["Status"],
    ["Created", "on-wide"],
    ["Last change"],
    ["Took", "on-wide number"],
  ];
  const head = h(
    "thead",
    {},
    h(
      "tr",
      {},
      heads.map(([words, shown]) => h("th", { scope: "col", class: shown }, words)),
    ),
  );
  return h(
    "table",
    { class: "list", "aria-labelledby": caption },
    h("caption", { class: "unseen", id: caption }, "Instances on this page"),
    head,
    h("tbody", {}, instances.map(row)),
  );
}

function row(instance) {
  const { instanceId: id } = instance;
  const isEntity = id.startsWith("@");
  const what = isEntity
    ? h("span", { class: "hint" }, "entity of .NET")
    : [name(instance.name), instance.version && h("span", { class: "hint" }, " ", name(instance.version))];
  return h(
    "tr",
    {},
    h(
      "td",
      {},
      link(id, { key: `open ${id}`, most: isNarrow() ? 24 : 60 }),
      h("div", { class: "on-narrow sub" }, isEntity ? "entity of .NET" : name(instance.name)),
    ),
    h("td", { class: "on-wide" }, what),
    h("td", {}, status(instance.runtimeStatus, instance.isParked)),
    h("td", { class: "on-wide" }, ago(instance.createdTime)),
    h("td", {}, ago(instance.lastUpdatedTime)),
    h("td", { class: "on-wide number" }, took(instance)),
  );
}

function isNarrow() {
  return matchMedia("(max-width: 760px)").matches;
}

function nothing(query) {
  const isFiltered = Object.keys(FILTERS).some((field) => query.get(field)) || query.get("after");
  const words = isFiltered
    ? ["No instance matches. ", h("a", { href: href(["instances"]) }, "Show all")]
    : "There is no instance in this hub yet. Start one with “Start…”, by the command “taskhub start”, or from your program.";
  return h("p", { class: "empty" }, words);
}

function turns(data, query) {
  const page = Number(query.get("page") ?? 1);
  const other = (changes) => {
    const next = new URLSearchParams(query);
    for (const [field, value] of Object.entries(changes)) value ? next.set(field, value) : next.delete(field);
    return href(["instances"], next);
  };
  const first = page > 1 && h("a", { class: "button", "data-key": "first", href: other({ after: "", page: "" }) }, "First page");
  const next =
    data.continuation &&
    h(
      "a",
      { class: "button", "data-key": "next", href: other({ after: data.continuation, page: String(page + 1) }) },
      "Next page",
    );
  return [h("span", { class: "hint" }, `Page ${page}, ${counted(data.instances.length, "instance")}`), first, next];
}
