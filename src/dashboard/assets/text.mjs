// Times, lengths of time, numbers and hostile characters, in words.

const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const DAY_AND_CLOCK = new Intl.DateTimeFormat(undefined, {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const NUMBER = new Intl.NumberFormat();

/** Characters that are not seen, or that turn around or hide what is beside them; and halves of characters. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;
/** Those that a text of several lines may have: they break lines, or tell how the character before them is drawn. */
const HARMLESS = "\n\t\ufe0f";

/** A name or id on one line, in which nobody who reads it can be led astray: hidden characters are written as their codes. */
export function visible(text) {
  return String(text).replace(HIDDEN, code);
}

/** The same for a text of several lines. */
export function visibleLines(text) {
  return text.replace(HIDDEN, (c) => (HARMLESS.includes(c) ? c : code(c)));
}

function code(c) {
  return `\\u{${c.codePointAt(0).toString(16)}}`;
}

/** The same, cut in its middle, where ids differ least. */
export function shortened(text, most = 60) {
  const all = [...visible(text)];
  if (all.length <= most) return all.join("");
  const tail = Math.floor(most / 3);
  return `${all.slice(0, most - tail - 1).join("")}…${all.slice(-tail).join("")}`;
}

export function number(count) {
  return NUMBER.format(count);
}

export function counted(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

/** A point of time in the zone of who looks. */
export function local(time) {
  return DATE.format(new Date(time));
}

/** The same without the date, but for its day if it is to be told. */
export function clock(time, withDay = false) {
  return (withDay ? DAY_AND_CLOCK : CLOCK).format(new Date(time));
}

/** Whether times so far apart, in milliseconds, are told with their days. */
export function needsDays(length) {
  return length > 43_200_000;
}

/** The same in UTC, with its milliseconds. */
export function utc(time) {
  return `${new Date(time).toISOString().replace("T", " ").replace("Z", "")} UTC`;
}

const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
];

/** A length of time in milliseconds, in its two largest units. */
export function span(milliseconds) {
  const whole = Math.max(0, milliseconds);
  if (whole < 1000) return `${Math.round(whole)} ms`;
  if (whole < 10_000) return `${(whole / 1000).toFixed(2)} s`;
  const at = UNITS.findIndex(([, length]) => whole >= length);
  const [name, length] = UNITS[at];
  const first = Math.floor(whole / length);
  const next = UNITS[at + 1];
  const second = next ? Math.floor((whole - first * length) / next[1]) : 0;
  return second > 0 ? `${first} ${name} ${second} ${next[0]}` : `${first} ${name}`;
}

/** How far a time is from now, to the second. */
export function relative(time, now) {
  const away = now - Date.parse(time);
  const length = Math.abs(away);
  const words = length < 10_000 ? `${Math.round(length / 1000)} s` : span(length);
  return away >= 0 ? `${words} ago` : `in ${words}`;
}

/** A sum of money, however small. */
export function money(amount, currency) {
  if (amount > 0 && amount < 0.000001) return `< 0.000001 ${currency}`;
  const digits = amount >= 100 || amount === 0 ? 0 : amount >= 0.1 ? 2 : 6;
  return `${amount.toFixed(digits)} ${currency}`;
}
