// A table of any length, of which only the rows that can be seen are on the page.

import { h, replace } from "./dom.mjs";

/** Rows beyond those that are seen, so that quick scrolling shows no gap. */
const BEYOND = 12;
/** Before the first row is measured. */
const ROW = 30;

/**
 * `columns`: the heads, each a text or an element with a class. `row`: the cells of an item by its number.
 * Gives the element, and `update` for other items.
 */
export function windowed({ label, columns, row, empty }) {
  const body = h("tbody");
  const head = h(
    "thead",
    {},
    h(
      "tr",
      { "aria-rowindex": "1" },
      columns.map(([words, name]) => h("th", { scope: "col", class: name }, words)),
    ),
  );
  const table = h("table", { class: "rows", "aria-label": label }, head, body);
  const scroller = h("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": `${label}, scrolls` }, table);
  let items = [];
  let height = ROW;
  let shown = "";

  const spacer = (rows) => {
    if (rows <= 0) return null;
    const cell = h("td", { colspan: columns.length });
    cell.style.height = `${rows * height}px`;
    return h("tr", { class: "spacer", "aria-hidden": "true" }, cell);
  };

  const draw = (isForced) => {
    const seen = Math.ceil((scroller.clientHeight || 600) / height);
    const first = Math.max(0, Math.min(Math.floor(scroller.scrollTop / height), items.length - seen) - BEYOND);
    const last = Math.min(items.length, first + seen + 2 * BEYOND);
    if (!isForced && shown === `${first} ${last}`) return;
    shown = `${first} ${last}`;
    const rows = items.slice(first, last).map((item, at) => {
      const { cells, ...properties } = row(item, first + at);
      return h("tr", { "aria-rowindex": first + at + 2, ...properties }, cells);
    });
    if (items.length === 0) rows.push(h("tr", {}, h("td", { colspan: columns.length, class: "empty" }, empty)));
    replace(body, spacer(first), rows, spacer(items.length - last));
    measure();
  };

  const measure = () => {
    const drawn = body.querySelector("tr:not(.spacer)");
    const measured = items.length > 0 && drawn ? drawn.getBoundingClientRect().height : 0;
    if (measured > 0 && Math.abs(measured - height) > 0.5) {
      height = measured;
      draw(true);
    }
  };

  let isDue = false;
  const later = () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      draw(false);
    });
  };
  scroller.addEventListener("scroll", later, { passive: true });
  new ResizeObserver(later).observe(scroller);

  return {
    element: scroller,
    update(next) {
      items = next;
      table.setAttribute("aria-rowcount", items.length + 1);
      draw(true);
    },
  };
}
