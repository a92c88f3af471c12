// The frame of the page: which view is shown, who looks, and whether it refreshes by itself.

import { get } from "./api.mjs";
import { tick } from "./badge.mjs";
import { question } from "./dialog.mjs";
import { h, replace, say } from "./dom.mjs";
import { hub } from "./hub.mjs";
import { instance } from "./instance.mjs";
import { list } from "./list.mjs";
import { Live } from "./live.mjs";
import { parked } from "./parked.mjs";
import { current, href } from "./route.mjs";
import { forget, keep, key, known, may, session } from "./session.mjs";
import { start } from "./start.mjs";
import { clock, visible } from "./text.mjs";
import { workers } from "./workers.mjs";

const VIEWS = { instances: list, instance, hub, workers, parked };
/** Where in the main menu a view belongs. */
const MENU = { instance: "instances" };

const main = document.getElementById("main");
const tools = document.getElementById("tools");
const live = new Live(drawTools);
/** The view that is shown, and what it was made for. */
let shown = { place: "", view: null };

async function show() {
  const route = current();
  const make = VIEWS[route.view];
  for (const link of document.querySelectorAll("header nav a")) {
    const isHere = link.getAttribute("href") === href([MENU[route.view] ?? route.view]);
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!make) {
    live.stop();
    shown = { place: "", view: null };
    replace(
      main,
      h("h1", {}, "There is no such page"),
      h("p", {}, "The link is of another version, or was cut. ", h("a", { href: href(["instances"]) }, "Show the instances")),
    );
    return;
  }
  const place = [route.view, ...route.names.slice(0, 1)].join("/");
  // A view takes changes of its own parameters itself, so that what it has on the page stays.
  if (shown.place === place && shown.view.turn?.(route)) {
    await live.now();
    return;
  }
  const view = make(route, live);
  const alert = h("div", { class: "alert", role: "alert", hidden: true });
  view.failed = (error) => failed(alert, error);
  const isFirst = shown.view === null;
  shown = { place, view };
  document.title = `${view.title} – ${session.hub || "taskhub"}`;
  replace(main, alert, view.root);
  if (!isFirst) main.focus({ preventScroll: true });
  scrollTo(0, 0);
  await live.show(view);
}

function failed(alert, error) {
  alert.hidden = error === null;
  if (error === null) return replace(alert);
  if (error.status === 401) return lockedOut();
  if (error.status === undefined) console.error(error);
  replace(alert, h("strong", {}, error.status === 404 ? "Not found. " : "This could not be read. "), error.message);
}

/** No key, or none that is known. */
function lockedOut() {
  live.stop();
  const words = key() === null ? "This server asks for a key." : "The server does not know this key, or no longer.";
  forget();
  drawTools();
  shown = { place: "", view: null };
  const field = h("input", { type: "password", id: "key", name: "key", autocomplete: "off", required: true });
  const form = h(
    "form",
    { class: "lock" },
    h("h1", {}, "Key"),
    h("p", {}, words, " It is kept in this tab until you close it, and is never part of a URL."),
    h("div", { class: "field" }, h("label", { for: "key" }, "Key for reading, operating or administration"), field),
    h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Use this key")),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    keep(field.value.trim());
    begin();
  });
  replace(main, form);
  field.focus();
}

function drawTools() {
  const at = live.last ? clock(live.last) : "–";
  const how = live.isPaused ? `paused at ${at}` : live.hasFailed ? `last read at ${at}` : `live, ${at}`;
  const pause = h(
    "button",
    {
      type: "button",
      class: live.isPaused ? "quiet is-paused" : "quiet",
      "data-key": "pause",
      onclick: () => live.pause(!live.isPaused),
    },
    live.isPaused ? "Go live" : "Pause",
  );
  const refresh = h("button", { type: "button", class: "quiet", "data-key": "refresh", onclick: () => live.now() }, "Refresh");
  const begin =
    may("operate") &&
    h("button", { type: "button", class: "primary", "data-key": "start", onclick: () => start(live) }, "Start…");
  const drop =
    key() !== null && h("button", { type: "button", class: "quiet", "data-key": "forget", onclick: leave }, "Forget the key");
  const scope =
    session.hub &&
    h("span", { class: "hint on-wide" }, may("admin") ? "all rights" : may("operate") ? "may operate" : "read only");
  replace(
    tools,
    h("span", { class: "hint" }, how),
    pause,
    refresh,
    scope,
    drop,
    begin,
  );
}

async function leave() {
  const sure = await question({
    title: "Forget the key?",
    text: "The page then shows nothing until a key is given again.",
    yes: "Forget it",
  });
  if (sure === null) return;
  lockedOut();
}

/** Learns who looks, and shows what is asked for. */
async function begin() {
  try {
    known((await get(["access"])).data);
  } catch (error) {
    if (error.status === 401) return lockedOut();
    say(error.message, true);
    setTimeout(begin, 5000);
    return;
  }
  document.getElementById("hub").textContent = visible(session.hub);
  drawTools();
  shown = { place: "", view: null };
  await show();
}

addEventListener("hashchange", show);
// The link is no place of a view.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
setInterval(tick, 5000);
begin();
