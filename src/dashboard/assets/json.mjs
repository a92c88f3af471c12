// Answers of the API read with their payloads left as the text that they are: numbers of any length, repeated members and the order stay.

/** A payload: its JSON text. */
export class Payload {
  constructor(text) {
    this.text = text;
  }

  /** Whether there is none. */
  get isNull() {
    return this.text === "null";
  }

  /** The text itself where it is a JSON string, and its JSON otherwise. */
  get plain() {
    return this.text.startsWith('"') ? JSON.parse(this.text) : this.text;
  }
}

/** The members that hold what users have stored. */
const PAYLOADS = new Set(["input", "output", "result", "customStatus"]);
/** Members that have members with names of users. */
const PLAIN = new Set(["tags", "properties"]);

/** Reads an answer. */
export function read(text) {
  const reader = new Reader(text);
  return reader.value();
}

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  value() {
    this.blanks();
    const c = this.text[this.at];
    if (c === "{") return this.object();
    if (c === "[") return this.array();
    return JSON.parse(this.raw());
  }

  object() {
    const read = {};
    this.at += 1;
    for (;;) {
      this.blanks();
      if (this.text[this.at] === "}") break;
      const name = JSON.parse(this.raw());
      this.blanks();
      this.at += 1; // the colon
      this.blanks();
      if (PAYLOADS.has(name)) read[name] = new Payload(this.raw());
      else if (PLAIN.has(name)) read[name] = JSON.parse(this.raw());
      else read[name] = this.value();
      this.blanks();
      if (this.text[this.at] === ",") this.at += 1;
    }
    this.at += 1;
    return read;
  }

  array() {
    const read = [];
    this.at += 1;
    for (;;) {
      this.blanks();
      if (this.text[this.at] === "]") break;
      read.push(this.value());
      this.blanks();
      if (this.text[this.at] === ",") this.at += 1;
    }
    this.at += 1;
    return read;
  }

  /** The text of the value that begins here. */
  raw() {
    const begin = this.at;
    const c = this.text[begin];
    if (c === "{" || c === "[") this.nested();
    else if (c === '"') this.string();
    else while (this.at < this.text.length && !",]} \n\r\t:".includes(this.text[this.at])) this.at += 1;
    if (this.at === begin) throw new SyntaxError("the answer is not JSON");
    return this.text.slice(begin, this.at);
  }

  string() {
    this.at += 1;
    while (this.at < this.text.length && this.text[this.at] !== '"') this.at += this.text[this.at] === "\\" ? 2 : 1;
    this.at += 1;
  }

  nested() {
    let depth = 0;
    do {
      const c = this.text[this.at];
      if (c === undefined) throw new SyntaxError("the answer broke off");
      if (c === '"') {
        this.string();
        continue;
      }
      if (c === "{" || c === "[") depth += 1;
      if (c === "}" || c === "]") depth -= 1;
      this.at += 1;
    } while (depth > 0);
  }

  blanks() {
    while (" \n\r\t".includes(this.text[this.at] ?? "x")) this.at += 1;
  }
}

/** JSON on lines of its own, with every string and number as it is written. */
export function pretty(text) {
  const reader = new Reader(text);
  const lines = [];
  let line = "";
  let depth = 0;
  const broken = () => {
    lines.push(line);
    line = "  ".repeat(depth);
  };
  while (reader.at < text.length) {
    const c = text[reader.at];
    const begin = reader.at;
    if (c === '"') {
      reader.string();
      line += text.slice(begin, reader.at);
      continue;
    }
    reader.at += 1;
    if (" \n\r\t".includes(c)) continue;
    if (c === "{" || c === "[") {
      reader.blanks();
      const next = text[reader.at];
      if (next === "}" || next === "]") {
        line += c + next;
        reader.at += 1;
        continue;
      }
      line += c;
      depth += 1;
      broken();
    } else if (c === "}" || c === "]") {
      depth -= 1;
      broken();
      line += c;
    } else if (c === ",") {
      line += c;
      broken();
    } else {
      line += c === ":" ? ": " : c;
    }
  }
  lines.push(line);
  return lines.join("\n");
}
