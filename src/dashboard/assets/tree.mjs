// The family of an instance: parents up, children down, each read when it is asked for.

import { get } from "./api.mjs";
import { link, name, status, took } from "./badge.mjs";
import { h, replace, say } from "./dom.mjs";
import { href } from "./route.mjs";
import { counted, visible } from "./text.mjs";

/** So many children are read at once; each is one call of storage. */
const AT_ONCE = 20;
/** A longer way up is of no use. */
const PARENTS = 30;

/** Gives the element, and `refresh` for another state of the instance. */
export function tree(id) {
  const up = h("ol", { class: "parents" });
  const down = h("div");
  const all = h(
    "p",
    { class: "hint" },
    "Shown are the children of the current execution. ",
    h("a", { href: href(["instances"], { parent: id }) }, "List all instances that it has ever started"),
    ", which reads the whole hub.",
  );
  const element = h(
    "div",
    { class: "tree" },
    h("h2", {}, "Parents"),
    up,
    h("h2", {}, "This instance and its children"),
    down,
    all,
  );
  let parentsOf;
  let drawnFor = "";
  return {
    element,
    async refresh(row, events) {
      const parent = row.parentInstanceId ?? null;
      if (parentsOf !== parent) {
        replace(up, await parents(id, parent));
        parentsOf = parent;
      }
      const children = childrenIn(events);
      const state = `${row.runtimeStatus} ${children.map((child) => child.id).join("\n")}`;
      if (state === drawnFor) return;
      const list = h("ul");
      replace(down, h("ul", { class: "root" }, h("li", {}, one(row), list)));
      await fill(list, children, new Set([id]), id);
      // What could not be read is read again.
      drawnFor = state;
    },
  };
}

/** The chain from the parent of an instance up to whoever nobody has started. */
async function parents(child, first) {
  const chain = [];
  const seen = new Set([child]);
  for (let id = first; id;) {
    if (seen.has(id) || chain.length === PARENTS) {
      const words = seen.has(id) ? "a circle: it stands further down too" : "more parents are not shown";
      chain.unshift(h("li", {}, link(id), h("span", { class: "hint" }, ` ${words}`)));
      break;
    }
    seen.add(id);
    const row = await look(id);
    chain.unshift(h("li", {}, row ? one(row) : gone(id)));
    id = row?.parentInstanceId;
  }
  return chain.length > 0 ? chain : h("li", { class: "empty" }, "None: a client has started it.");
}

/** The children that a history names, in the order of their starts. */
function childrenIn(events) {
  const created = events.filter((event) => event.eventType === "SubOrchestrationInstanceCreated");
  return [...new Map(created.map((event) => [event.instanceId, { id: event.instanceId, name: event.name }])).values()];
}

async function look(id) {
  try {
    return (await get(["instances", id], { query: { showInput: "false" }, payloads: true })).data;
  } catch (error) {
    if (error.status === 404 || error.status === 400) return null;
    throw error;
  }
}

function one(row) {
  return [
    link(row.instanceId),
    " ",
    name(row.name),
    " ",
    status(row.runtimeStatus, row.isParked),
    h("span", { class: "hint" }, ` ${took(row)}`),
  ];
}

function gone(id, called) {
  return [link(id), " ", called && name(called), h("span", { class: "hint" }, " has not begun, or is purged")];
}

/** Puts children into a list, some at a time. `above`: those on the way up, which are not opened again. */
async function fill(list, children, above, parent) {
  if (children.length === 0) {
    list.append(h("li", { class: "empty" }, "No children."));
    return;
  }
  const some = children.slice(0, AT_ONCE);
  const rows = await Promise.all(some.map((child) => look(child.id)));
  list.append(...some.map((child, at) => item(child, rows[at], above, parent)));
  const rest = children.slice(AT_ONCE);
  if (rest.length === 0) return;
  const more = h(
    "button",
    { type: "button", class: "quiet" },
    `Show more of the ${counted(rest.length, "child", "children")} that are left`,
  );
  const last = h("li", {}, more);
  more.addEventListener("click", async () => {
    more.disabled = true;
    try {
      await fill(list, rest, above, parent);
      last.remove();
    } catch (error) {
      more.disabled = false;
      say(error.message, true);
    }
  });
  list.append(last);
}

function item(child, row, above, parent) {
  if (!row) return h("li", {}, gone(child.id, child.name));
  // An id that was in use has stayed another's.
  if (row.parentInstanceId && row.parentInstanceId !== parent)
    return h("li", {}, one(row), h("span", { class: "hint" }, " of another parent"));
  const below = h("ul", { hidden: true });
  const toggle = h(
    "button",
    { type: "button", class: "plain toggle", "aria-expanded": "false", "aria-label": `Children of ${visible(child.id)}` },
    "▸",
  );
  toggle.addEventListener("click", async () => {
    const isOpen = toggle.getAttribute("aria-expanded") === "true";
    toggle.setAttribute("aria-expanded", String(!isOpen));
    toggle.textContent = isOpen ? "▸" : "▾";
    below.hidden = isOpen;
    if (isOpen || below.childElementCount > 0) return;
    try {
      const { data } = await get(["instances", child.id, "history"], { payloads: true });
      await fill(below, childrenIn(data.events), new Set([...above, child.id]), child.id);
    } catch (error) {
      say(error.message, true);
    }
  });
  return h("li", {}, above.has(child.id) ? null : toggle, one(row), below);
}
