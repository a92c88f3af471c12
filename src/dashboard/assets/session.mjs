// Who looks: the key, which stays in this tab, what it allows, and the clock of the server.

const KEY = "taskhub.key";
const SCOPES = ["read", "operate", "admin"];

export const session = { hub: "", scope: "read", version: "", offset: 0 };

export function key() {
  return sessionStorage.getItem(KEY);
}

export function keep(text) {
  sessionStorage.setItem(KEY, text);
}

export function forget() {
  sessionStorage.removeItem(KEY);
}

/** Whether the key allows what needs this scope. */
export function may(scope) {
  return SCOPES.indexOf(session.scope) >= SCOPES.indexOf(scope);
}

/** Now, by the clock of the server, in milliseconds. */
export function now() {
  return Date.now() + session.offset;
}

/** Takes over what the API says of who asks. */
export function known(access) {
  session.hub = access.hub;
  session.scope = access.scope;
  session.version = access.version;
  session.offset = Date.parse(access.readAt) - Date.now();
}
