// The modules that need no browser, as they are: reading JSON without loss, timelines, words.
"use strict";

const path = require("node:path");
const { pathToFileURL } = require("node:url");

const load = (name) => import(pathToFileURL(path.join(__dirname, "../../src/dashboard/assets", name)));

/** Numbers from a seed, so that a failure comes again. */
function seeded(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state % below;
  };
}

/** JSON at random: nested, with every kind of blank, escapes, long numbers and repeated members. */
function json(draw, depth = 0) {
  const blank = () => ["", " ", "\n", "\t "][draw(4)];
  const text = () => JSON.stringify(["", "a", "}]", '"', "\\", "é\u0000", "input", "tags"][draw(8)]);
  const kind = draw(depth > 3 ? 4 : 6);
  if (kind === 0) return ["null", "true", "false"][draw(3)];
  if (kind === 1) return ["0", "-1.50", "79228162514264337593543950335", "1e400"][draw(4)];
  if (kind < 4) return text();
  const count = draw(4);
  const members = Array.from(
    { length: count },
    () => (kind === 4 ? "" : `${text()}${blank()}:${blank()}`) + json(draw, depth + 1) + blank(),
  );
  return kind === 4 ? `[${blank()}${members.join(",")}]` : `{${blank()}${members.join(`,${blank()}`)}}`;
}

module.exports = {
  "payloads stay the text that they are, and all else is read as JSON is": async ({ assert }) => {
    const { Payload, read } = await load("json.mjs");
    for (let seed = 0; seed < 500; seed += 1) {
      const payload = json(seeded(seed));
      const other = json(seeded(seed + 1000))
        .replaceAll(/"(input|output|result|customStatus)"/g, '"x"')
        .replaceAll('"properties"', '"x"');
      const found = read(` {"input" : ${payload} , "tags":{"input":"t"},"other":[${other}],"last":1}`);
      assert.ok(found.input instanceof Payload);
      assert.equal(found.input.text, payload);
      assert.deepEqual([found.tags, found.other, found.last], [{ input: "t" }, [JSON.parse(other)], 1]);
    }
    for (const broken of ["", "{", '{"a"', "[1,", '{"a":[{']) assert.throws(() => read(broken), broken);
  },

  "pretty JSON says the same, number by number": async ({ assert }) => {
    const { pretty } = await load("json.mjs");
    const plain = (text) => text.replaceAll(/("(?:[^"\\]|\\.)*")|\s/g, "$1");
    for (let seed = 0; seed < 500; seed += 1) {
      const text = json(seeded(seed));
      assert.equal(plain(pretty(text)), plain(text));
    }
    assert.equal(pretty('{"a":[1.10,{}],"a":"x{"}'), '{\n  "a": [\n    1.10,\n    {}\n  ],\n  "a": "x{"\n}');
  },

  "a timeline has a line for each task, with its attempts and its end": async ({ assert }) => {
    const { timeline } = await load("timeline.mjs");
    const at = (seconds) => new Date(Date.UTC(2026, 0, 1, 12, 0, seconds)).toISOString();
    const task = (eventId, seconds, more = {}) => ({
      eventType: "TaskScheduled",
      name: "Charge",
      eventId,
      timestamp: at(seconds),
      ...more,
    });
    const events = [
      task(9, 0, { eventType: "GenericEvent", takenBack: "TaskScheduled" }),
      task(0, 0),
      { eventType: "TaskFailed", taskScheduledId: 0, reason: "no", timestamp: at(2) },
      { eventType: "TimerCreated", eventId: 1, fireAt: at(5), timestamp: at(2) },
      { eventType: "TimerFired", timerId: 1, fireAt: at(5), timestamp: at(2) },
      task(2, 5),
      { eventType: "EventRaised", name: "Paid", timestamp: at(6) },
    ];
    const now = Date.parse(at(9));
    const short = ({ lines }) =>
      lines.map((line) => [
        line.kind,
        line.label,
        line.attempt,
        line.state,
        (line.from - Date.parse(at(0))) / 1000,
        line.to && (line.to - Date.parse(at(0))) / 1000,
      ]);
    const taken = ["activity", "Charge", 1, "takenBack", 0, null];
    const failed = ["activity", "Charge", 1, "failed", 0, 2];
    const timer = ["timer", "Timer", 1, "done", 2, 5];
    const event = ["event", "Event Paid", 1, "done", 6, 6];
    assert.deepEqual(short(timeline(events, now)), [taken, failed, timer, ["activity", "Charge", 2, "open", 5, null], event]);
    const done = [...events, { eventType: "TaskCompleted", taskScheduledId: 2, timestamp: at(7) }];
    assert.deepEqual(short(timeline(done, now)).at(-1), ["wait", "Waits for an event", 1, "open", 7, null]);
    const over = timeline([...events, { eventType: "ExecutionCompleted", timestamp: at(8) }], now);
    assert.deepEqual([over.hasEnded, over.end - over.begin, over.lines[3].state], [true, 8000, "left"]);
    assert.deepEqual(timeline([], now).lines, []);
  },

  "times and hostile characters are told in words": async ({ assert }) => {
    const { relative, shortened, span, visible, visibleLines } = await load("text.mjs");
    assert.deepEqual([0, 999, 1500, 59_999, 60_000, 3_725_000, 90_000_000].map(span), [
      "0 ms",
      "999 ms",
      "1.50 s",
      "59 s",
      "1 min",
      "1 h 2 min",
      "1 d 1 h",
    ]);
    assert.deepEqual(
      [relative("2026-01-01T00:00:00Z", Date.UTC(2026, 0, 1, 0, 1)), relative("2026-01-01T00:00:09Z", Date.UTC(2026, 0, 1))],
      ["1 min ago", "in 9 s"],
    );
    assert.equal(visible("a\u202eb\u0000c\nd😀"), "a\\u{202e}b\\u{0}c\\u{a}d😀");
    assert.equal(visible("a\u3164\ufe0f\u{e0041}\ud800"), "a\\u{3164}\\u{fe0f}\\u{e0041}\\u{d800}");
    assert.equal(visibleLines("❤\ufe0f\n\u202e"), "❤\ufe0f\n\\u{202e}");
    assert.deepEqual([[...shortened("x".repeat(100), 20)].length, shortened("short")], [20, "short"]);
  },
};
