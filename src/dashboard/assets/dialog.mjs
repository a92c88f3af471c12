// Dialogs: questions with fields, and things to be read.

import { h, uniqueId } from "./dom.mjs";

/**
 * Asks. `fields`: name, label, kind (text, check, json, time), hint. Gives the values, or nothing if it was cancelled. `check` may give words that say
 * what is wrong with the values.
 */
export function question({ title, text, fields = [], yes, isDangerous = false, check = () => null }) {
  return new Promise((resolve) => {
    const heading = uniqueId("dialog");
    const inputs = fields.map((field) => [field, input(field)]);
    const wrong = h("p", { class: "is-bad", role: "alert" });
    const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
    const confirm = h("button", { type: "submit", class: isDangerous ? "danger" : "primary" }, yes);
    const form = h(
      "form",
      {},
      text && h("p", {}, text),
      inputs.map(([field, element]) => labelled(field, element)),
      wrong,
      h("div", { class: "buttons" }, cancel, confirm),
    );
    const dialog = h("dialog", { "aria-labelledby": heading }, h("h2", { id: heading }, title), form);
    let given = null;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const values = Object.fromEntries(
        inputs.map(([field, element]) => [field.name, field.kind === "check" ? element.checked : element.value]),
      );
      const words = check(values);
      wrong.textContent = words ?? "";
      if (words !== null) return;
      given = values;
      dialog.close();
    });
    open(dialog, () => resolve(given));
    (inputs[0]?.[1] ?? cancel).focus();
  });
}

/** Shows something until it is closed. */
export function reading(title, ...content) {
  const heading = uniqueId("dialog");
  const close = h("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Close");
  const dialog = h(
    "dialog",
    { class: "reading", "aria-labelledby": heading },
    h("h2", { id: heading }, title),
    content,
    h("div", { class: "buttons" }, close),
  );
  open(dialog, () => {});
  close.focus();
}

function open(dialog, onClose) {
  // The browser gives the focus back to where it was.
  dialog.addEventListener("close", () => {
    dialog.remove();
    onClose();
  });
  document.body.append(dialog);
  dialog.showModal();
}

function input({ name, kind = "text", value = "", list, required }) {
  const common = { name, id: uniqueId("field"), required, autocomplete: "off", spellcheck: "false" };
  if (kind === "json") return h("textarea", { ...common, rows: "5", value });
  if (kind === "check") return h("input", { ...common, type: "checkbox" });
  const types = { time: "datetime-local", key: "password", text: "text" };
  return h("input", { ...common, type: types[kind], step: kind === "time" ? "1" : undefined, list, value });
}

function labelled({ label, kind, hint }, element) {
  const words = h("label", { for: element.id }, label);
  const about = hint && h("span", { class: "hint", id: `${element.id}-hint` }, hint);
  if (hint) element.setAttribute("aria-describedby", `${element.id}-hint`);
  return h(
    "div",
    { class: kind === "check" ? "field check" : "field" },
    kind === "check" ? [element, words] : [words, element],
    about,
  );
}
