// Elements made of texts: whatever is stored reaches the page through here, as text and never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Properties beginning with `on` are listeners; `class`, `data-` and `aria-` names and all others are attributes; `true` and `false` set and leave out. */
export function h(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** An element of a drawing. */
export function svg(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** Puts new content into an element. Who had the focus keeps it, if what has the same `data-key` is there again. */
export function replace(element, ...children) {
  const held = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  if (held === undefined) return;
  const again = [...element.querySelectorAll("[data-key]")].find((child) => child.dataset.key === held);
  again?.focus({ preventScroll: true });
}

/** Tells something to who looks and to who listens. */
export function say(words, isBad = false) {
  const said = document.getElementById("said");
  const close = h(
    "button",
    { type: "button", class: "plain", "aria-label": "Close this message", onclick: () => said.replaceChildren() },
    "✕",
  );
  said.replaceChildren(h("p", { class: isBad ? "is-bad" : "is-good" }, h("span", {}, words), close));
}

let labels = 0;

/** An id that no other element has. */
export function uniqueId(prefix) {
  labels += 1;
  return `${prefix}-${labels}`;
}
