// What is looked at, as it stands behind the `#` of the URL: so that links, reloading and going back work.

/** The view, the values of its path, and its parameters. */
export function current() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [view = "", ...names] = path.split("/").map(decoded);
  return { view: view || "instances", names, query: new URLSearchParams(query) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The link to a view. Parameters that are empty are left out. */
export function href(path, query = {}) {
  const parameters = new URLSearchParams();
  for (const [name, value] of query instanceof URLSearchParams ? query : Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") parameters.append(name, value);
  }
  const tail = parameters.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${tail && `?${tail}`}`;
}

export function instance(id, tab) {
  return href(tab ? ["instance", id, tab] : ["instance", id]);
}

/** Goes there; `stays`: the view knows already, and back does not lead here. */
export function go(to, stays = false) {
  if (stays) history.replaceState(null, "", to);
  else location.hash = to;
}
