// Requests to the API beside this page.

import { read } from "./json.mjs";
import { key } from "./session.mjs";

/** The page is at `dashboard/` behind the prefix of the API. */
const BASE = new URL("../api/v1/", document.baseURI);

/** What the API has refused, or that nobody answered. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** One segment of a path. */
function segment(text) {
  // Browsers take these for steps in the path, however they are written.
  if (/^\.\.?$/.test(text))
    throw new Refused(400, `A browser cannot ask for the id “${text}”: use the command, taskhub show ${text}.`);
  return encodeURIComponent(text);
}

/** Asks; `path` is a list of segments. Gives the text of the answer. */
export async function ask(method, path, { query = {}, body, signal } = {}) {
  const url = new URL(path.map(segment).join("/"), BASE);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.append(name, value);
  }
  const headers = { accept: "application/json" };
  if (key() !== null) headers["x-functions-key"] = key();
  if (body !== undefined) headers["content-type"] = "application/json";
  let answer;
  let text;
  try {
    answer = await fetch(url, {
      method,
      headers,
      body,
      signal,
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
    });
    text = await answer.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server does not answer. It is asked again by itself; look whether it runs.");
  }
  if (!answer.ok) throw new Refused(answer.status, detail(text, answer.status));
  return text;
}

function detail(text, status) {
  try {
    const problem = JSON.parse(text);
    if (typeof problem.detail === "string" && problem.detail !== "") return problem.detail;
  } catch {
    // Not of the API: of a proxy before it.
  }
  return `The server answered with the status ${status}.`;
}

/** Asks for JSON. `payloads`: whether members that hold payloads are left as the text that they are. */
export async function get(path, { payloads = false, ...options } = {}) {
  const text = await ask("GET", path, options);
  const data = payloads ? read(text) : JSON.parse(text);
  return { text, data };
}
