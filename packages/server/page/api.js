/** Requests to the server, with the token of whoever looks. */

const NAME = "millrace-token";

/** A refusal of the server, in its own words. */
export class Refused extends Error {
  constructor(status, { code, message }) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const listeners = new Set();

/** The token stays until the tab is closed. It is in no cookie, so no other site can use it. */
export function token() {
  return sessionStorage.getItem(NAME) ?? undefined;
}

export function setToken(value) {
  if (value === undefined || value === "") sessionStorage.removeItem(NAME);
  else sessionStorage.setItem(NAME, value);
  for (const listener of listeners) listener();
}

export function onToken(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** From the address that the command prints; nobody shall see it there. */
export function takeTokenFromAddress() {
  const given = /^#token=([\w-]+)$/.exec(location.hash)?.[1];
  if (given === undefined) return;
  history.replaceState(null, "", location.pathname);
  setToken(given);
}

/** The response of a request that the server has accepted. Throws `Refused`, and `TypeError` when it is gone. */
export async function fetchFrom(path, { body, signal } = {}) {
  const headers = {};
  if (token() !== undefined) headers.authorization = `Bearer ${token()}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const response = await fetch(path, {
    method: body === undefined ? "GET" : "POST",
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
    credentials: "omit",
  });
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new Refused(response.status, error ?? { code: "", message: `the server answered with ${response.status}` });
}

export async function ask(path, options) {
  return (await fetchFrom(path, options)).json();
}

/** `?a=1&b=2` of what is neither absent nor empty. */
export function query(values) {
  const known = Object.entries(values).filter(([, value]) => value !== undefined && value !== "");
  return known.length === 0 ? "" : `?${new URLSearchParams(known)}`;
}

/** The text for a failure. */
export function problem(error) {
  if (error instanceof Refused && error.status === 401) return "This needs a token: choose “Token” above.";
  if (error instanceof Refused && error.status === 403) return `This token isn't enough: ${error.message}.`;
  if (error instanceof Refused) return error.message;
  return "The server doesn't answer.";
}
