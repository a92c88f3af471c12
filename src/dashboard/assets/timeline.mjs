// A history as what lasted and what happened: one line for each activity, timer, child and event, by when it began and ended.

/**
 * The lines of the events of one execution, as it stands at `now` (milliseconds): kind, label, detail, id, from, to (null while it is under way), state (done,
 * failed, open, left, takenBack), isPoint, and the numbers of its first and last event. With the times at which all of it begins and ends, what is open, and
 * which generation it is.
 */
export function timeline(events, now) {
  const reading = new Reading();
  events.forEach((event, at) => reading.take(event, at));
  return reading.done(events, now);
}

const BEGINS = { TaskScheduled: "activity", SubOrchestrationInstanceCreated: "child", TimerCreated: "timer" };
const ENDS = {
  TaskCompleted: ["taskScheduledId", "done"],
  TaskFailed: ["taskScheduledId", "failed"],
  SubOrchestrationInstanceCompleted: ["taskScheduledId", "done"],
  SubOrchestrationInstanceFailed: ["taskScheduledId", "failed"],
  TimerFired: ["timerId", "done"],
};
const POINTS = {
  EventRaised: (event) => ["event", `Event ${event.name}`, "received"],
  EventSent: (event) => ["event", `Sent ${event.name}`, `to ${event.instanceId}`],
  ExecutionSuspended: (event) => ["state", "Suspended", reason(event)],
  ExecutionResumed: (event) => ["state", "Resumed", reason(event)],
  ExecutionTerminated: (event) => ["state", "Terminated", reason(event)],
  ContinueAsNew: () => ["state", "Continued as new", ""],
};
/** The tag of a child for which nobody waits. */
const LEFT_TO_ITSELF = "FireAndForget";

function reason(event) {
  return typeof event.reason === "string" ? event.reason : (event.input?.plain ?? "");
}

class Reading {
  constructor() {
    this.lines = [];
    this.open = new Map();
    /** The last call of each name, to see which one follows a failure. */
    this.calls = new Map();
    this.end = null;
    this.suspended = null;
  }

  take(event, at) {
    const isTakenBack = typeof event.takenBack === "string";
    const type = isTakenBack ? event.takenBack : event.eventType;
    const time = Date.parse(event.timestamp);
    if (BEGINS[type]) this.begin(BEGINS[type], event, at, time, isTakenBack);
    else if (ENDS[type]) this.finish(event, at, time, ENDS[type], isTakenBack);
    else if (POINTS[type]) this.point(event, at, time, POINTS[type](event), isTakenBack);
    else if (type === "ExecutionCompleted") this.complete(event, at, time, isTakenBack);
  }

  begin(kind, event, at, time, isTakenBack) {
    const isLeft = kind === "child" && event.tags?.[LEFT_TO_ITSELF] !== undefined;
    const line = {
      kind,
      label: event.name ?? "Timer",
      detail: "",
      id: event.eventId,
      from: time,
      to: null,
      isPoint: false,
      first: at,
      last: at,
      attempt: 1,
    };
    line.state = isTakenBack ? "takenBack" : isLeft ? "left" : "open";
    if (kind === "timer") line.due = Date.parse(event.fireAt);
    if (kind === "child") line.child = event.instanceId;
    if (kind !== "timer") this.follow(line);
    this.open.set(`${event.eventId} ${isTakenBack}`, line);
    this.lines.push(line);
  }

  /** A call of what has failed just before is most likely another attempt. */
  follow(line) {
    const key = `${line.kind} ${line.label}`;
    const before = this.calls.get(key);
    if (before?.state === "failed" && before.to <= line.from) line.attempt = before.attempt + 1;
    this.calls.set(key, line);
  }

  finish(event, at, time, [member, state], isTakenBack) {
    const line = this.open.get(`${event[member]} ${isTakenBack}`);
    if (!line) return;
    // The message of a timer is made when the timer begins.
    line.to = Math.max(line.from, line.kind === "timer" ? Math.max(time, line.due || time) : time);
    line.last = at;
    if (!isTakenBack) line.state = state;
    if (state === "failed") line.detail = event.failureDetails?.errorMessage ?? reason(event);
  }

  point(event, at, time, [kind, label, detail], isTakenBack) {
    const state = isTakenBack ? "takenBack" : "done";
    this.lines.push({
      kind,
      label,
      detail,
      id: null,
      from: time,
      to: time,
      state,
      isPoint: true,
      first: at,
      last: at,
      attempt: 1,
    });
    if (isTakenBack) return;
    if (event.eventType === "ExecutionSuspended") this.suspended = at;
    if (event.eventType === "ExecutionResumed") this.suspended = null;
  }

  complete(event, at, time, isTakenBack) {
    if (isTakenBack) {
      this.point(event, at, time, ["state", "Failed, rewound", ""], true);
    } else {
      this.end = time;
    }
  }

  done(events, now) {
    const times = events.map((event) => Date.parse(event.timestamp)).filter((time) => !Number.isNaN(time));
    if (times.length === 0) return { lines: [], begin: now, end: now, hasEnded: false, open: [], generation: 0 };
    const begin = times.reduce((a, b) => Math.min(a, b));
    const latest = times.reduce((a, b) => Math.max(a, b));
    const hasEnded = this.end !== null;
    const generation = events.find((event) => event.eventType === "ExecutionStarted")?.generation ?? 0;
    const open = this.lines.filter((line) => line.state === "open");
    if (hasEnded) open.forEach((line) => (line.state = "left"));
    else if (open.length === 0 && this.suspended === null) this.lines.push(waiting(events, latest));
    return {
      lines: this.lines,
      begin,
      end: hasEnded ? this.end : Math.max(now, latest),
      hasEnded,
      open: hasEnded ? [] : open,
      generation,
    };
  }
}

/** Of waits for events nothing is recorded: if nothing else is open, one of them is what is waited for. */
function waiting(events, since) {
  const last = events.length - 1;
  return {
    kind: "wait",
    label: "Waits for an event",
    detail: "or for a worker",
    id: null,
    from: since,
    to: null,
    state: "open",
    isPoint: false,
    first: last,
    last,
    attempt: 1,
  };
}
