// One instance: how it stands, its texts, its timeline, its history and its family.

import { actions } from "./actions.mjs";
import { get } from "./api.mjs";
import { ago, copy, ended, link, name, status, time, took } from "./badge.mjs";
import { h, replace } from "./dom.mjs";
import { gantt } from "./gantt.mjs";
import { failure, history } from "./history.mjs";
import { block } from "./payload.mjs";
import { go, href, instance as instanceLink } from "./route.mjs";
import { now } from "./session.mjs";
import { facts } from "./table.mjs";
import { number, shortened, visible } from "./text.mjs";
import { timeline } from "./timeline.mjs";
import { tree } from "./tree.mjs";

const TABS = { overview: "Overview", timeline: "Timeline", history: "History", tree: "Tree" };
/** Between two looks; one that has ended seldom changes. */
const EVERY = 5000;
const EVERY_ENDED = 30_000;
/** A long history that grows is read again less often: so many milliseconds later for each of its events. */
const PAUSE_OF_EVENT = 5;
const PAUSE_MAX = 30_000;
/** So many of what it waits for are named. */
const WAITS = 5;

export function instance(route, live) {
  const id = route.names[0] ?? "";
  const view = new InstanceView(id, live);
  view.turn(route);
  return view;
}

class InstanceView {
  constructor(id, live) {
    this.id = id;
    this.live = live;
    this.title = visible(id);
    this.row = null;
    this.events = [];
    /** What was drawn last, and of what the history was read. */
    this.drawn = "";
    this.readFor = null;
    this.isQuiet = false;
    this.readNext = 0;
    this.head = h("div");
    this.tabs = h("nav", { class: "tabs", "aria-label": "Views of the instance" });
    this.body = h("div");
    this.root = h(
      "article",
      {},
      h("p", { class: "crumbs" }, h("a", { href: href(["instances"]) }, "Instances")),
      h("div", { class: "title" }, h("h1", { class: "instance-id" }, h("bdi", {}, visible(id))), copy(id, "the id")),
      this.head,
      this.tabs,
      this.body,
    );
    this.log = null;
    this.chart = null;
    this.family = null;
  }

  get every() {
    return this.row && ended(this.row.runtimeStatus) ? EVERY_ENDED : EVERY;
  }

  turn(route) {
    const tab = TABS[route.names[1]] ? route.names[1] : "overview";
    this.query = route.query;
    if (tab !== this.tab) {
      this.tab = tab;
      this.drawTabs();
      this.drawBody();
    }
    return true;
  }

  async refresh(signal) {
    const { text, data } = await this.look(signal);
    this.row = data;
    const isSame = text === this.drawn;
    this.isQuiet = isSame || this.drawn === "";
    if (!isSame) {
      this.drawn = text;
      this.drawHead();
      if (this.tab === "overview") this.drawBody();
    }
    await this.readHistory(signal, text);
    if (this.tab === "timeline") this.chart.update(timeline(this.events, now()));
    if (this.tab === "tree") await this.family.refresh(this.row, this.events);
  }

  async look(signal) {
    try {
      return await get(["instances", this.id], { payloads: true, signal });
    } catch (error) {
      if (error.status === 404) [this.head, this.tabs, this.body].forEach((part) => replace(part));
      throw error;
    }
  }

  /** Reads the history where it is shown, and only if the row has changed since. What waits or has failed shows why at once. */
  async readHistory(signal, text) {
    const tellsMore = this.row.runtimeStatus === "Failed" || (this.isQuiet && !ended(this.row.runtimeStatus));
    const isEarly = !ended(this.row.runtimeStatus) && Date.now() < this.readNext;
    if (this.readFor === text || isEarly || (this.tab === "overview" && !tellsMore)) return;
    const { data } = await get(["instances", this.id, "history"], { payloads: true, signal });
    this.events = data.events;
    this.readFor = text;
    this.readNext = Date.now() + Math.min(PAUSE_MAX, this.events.length * PAUSE_OF_EVENT);
    this.log?.update(this.events);
    if (this.tab === "overview") this.drawBody();
  }

  drawHead() {
    const { row } = this;
    const isEntity = this.id.startsWith("@");
    const tags = Object.entries(row.tags ?? {});
    replace(
      this.head,
      h(
        "div",
        { class: "stand" },
        status(row.runtimeStatus, row.isParked),
        isEntity ? h("span", {}, "Entity of .NET, shown and never changed here") : name(row.name),
        h("span", { class: "actions" }, actions(row, this.live)),
      ),
      row.isParked &&
        h(
          "p",
          { class: "alert" },
          "A message of this instance could not be worked on and is parked; it goes on once that is ",
          h("a", { href: href(["parked"]) }, "put back or dropped"),
          ".",
        ),
      facts([
        ["Created", [ago(row.createdTime), h("span", { class: "hint" }, " ", time(row.createdTime))]],
        ["Last change", [ago(row.lastUpdatedTime), h("span", { class: "hint" }, " ", time(row.lastUpdatedTime))]],
        ["Ended", row.completedTime && time(row.completedTime)],
        [ended(row.runtimeStatus) ? "Took" : "So far", took(row)],
        ["Scheduled for", row.scheduledStartTime && time(row.scheduledStartTime)],
        ["Version", row.version && name(row.version)],
        ["Started by", row.parentInstanceId && link(row.parentInstanceId, { key: "parent" })],
        ["Generation", row.generation > 0 && number(row.generation)],
        ["Execution", row.executionId && h("bdi", { class: "id" }, visible(row.executionId))],
        [
          "Tags",
          tags.length > 0 &&
            h(
              "ul",
              { class: "tags" },
              tags.map(([tag, value]) => h("li", {}, name(tag), ": ", name(value))),
            ),
        ],
      ]),
    );
  }

  drawTabs() {
    const one = ([tab, label]) =>
      h(
        "a",
        {
          href: instanceLink(this.id, tab === "overview" ? undefined : tab),
          "aria-current": tab === this.tab ? "page" : undefined,
          "data-key": `tab ${tab}`,
        },
        label,
      );
    replace(this.tabs, Object.entries(TABS).map(one));
  }

  drawBody() {
    if (this.tab === "overview") return replace(this.body, this.row ? this.texts() : []);
    const open = (at) => this.log.open(at);
    this.log ??= history(this.query.get("q") ?? "", (q) => go(href(["instance", this.id, "history"], { q }), true));
    this.chart ??= gantt(open);
    this.family ??= tree(this.id);
    const parts = { timeline: this.chart, history: this.log, tree: this.family };
    replace(this.body, parts[this.tab].element);
    this.log.update(this.events);
    if (this.row) this.chart.update(timeline(this.events, now()));
  }

  /** Input, output and what else users have stored. */
  texts() {
    const { row } = this;
    const end = this.events.findLast?.((event) => event.eventType === "ExecutionCompleted");
    const blocks = [];
    if (end?.failureDetails) blocks.push(...failure(end.failureDetails, this.id));
    else if (!row.output.isNull) blocks.push(block(outputName(row), row.output, `${this.id} output`));
    if (!row.customStatus.isNull) blocks.push(block("Custom status", row.customStatus, `${this.id} status`));
    if (!row.input.isNull) blocks.push(block("Input", row.input, `${this.id} input`));
    const none =
      blocks.length === 0 && h("p", { class: "empty" }, `${shortened(this.id)} has no input, no output and no custom status.`);
    return [this.waits(), none, blocks];
  }

  /** What an instance that has not ended waits for, as far as its history tells. */
  waits() {
    const { row } = this;
    if (ended(row.runtimeStatus) || this.id.startsWith("@")) return null;
    if (row.runtimeStatus === "Pending") {
      const start = row.scheduledStartTime && Date.parse(row.scheduledStartTime) > now();
      const words = start
        ? ["Waits for its start, scheduled for ", time(row.scheduledStartTime), "."]
        : ["Waits for a worker to begin it. The view ", h("a", { href: href(["hub"]) }, "Hub"), " names code that no worker has."];
      return h("p", { class: "lead" }, words);
    }
    if (this.readFor !== this.drawn) return null;
    const { open } = timeline(this.events, now());
    const shown = open.slice(0, WAITS).map((line) => h("li", {}, waitFor(line)));
    const more =
      open.length > WAITS &&
      h("li", {}, h("a", { href: instanceLink(this.id, "timeline") }, `and ${number(open.length - WAITS)} more`));
    const suspended = row.runtimeStatus === "Suspended" && h("li", {}, "its resumption");
    return h(
      "section",
      { class: "block" },
      h("h2", {}, "Waits for"),
      h(
        "ul",
        { class: "waits" },
        suspended,
        shown,
        more,
        h("li", {}, shown.length === 0 ? "an event from outside" : "or an event from outside"),
      ),
    );
  }
}

function waitFor(line) {
  if (line.kind === "timer") return ["a timer, due ", time(new Date(line.due).toISOString())];
  const since = [" since ", ago(new Date(line.from).toISOString())];
  if (line.kind === "child") return ["the sub-orchestration ", name(line.label), " ", link(line.child), since];
  return ["the activity ", name(line.label), since];
}

function outputName(row) {
  return (
    { Failed: "Failure", Terminated: "Reason of the termination", Suspended: "Reason of the suspension" }[row.runtimeStatus] ??
    "Output"
  );
}
