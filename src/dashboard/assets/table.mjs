// A plain table, which scrolls by itself where the window is narrow.

import { h } from "./dom.mjs";

/** `columns`: heads with classes; `rows`: cells in that order, or an object with `cells` and attributes of the row. */
export function table(caption, columns, rows, empty) {
  if (rows.length === 0) return h("p", { class: "empty" }, empty);
  const head = h(
    "thead",
    {},
    h(
      "tr",
      {},
      columns.map(([words, name]) => h("th", { scope: "col", class: name }, words)),
    ),
  );
  const body = rows.map((row) =>
    h(
      "tr",
      {},
      row.map((cell, at) => h("td", { class: columns[at][1] }, cell)),
    ),
  );
  return h(
    "div",
    { class: "wide", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "unseen" }, caption), head, h("tbody", {}, body)),
  );
}

/** Facts by their names. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== false);
  return h(
    "dl",
    { class: "facts" },
    shown.map(([words, value]) => h("div", {}, h("dt", {}, words), h("dd", {}, value))),
  );
}
