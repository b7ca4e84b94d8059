// Calls to this hub's REST API, as the person who is signed in.

/** A refusal: `code` is stable, the message is for people, `data` holds facts. */
export class Refused extends Error {
  constructor(status, error) {
    super(error?.message || `The hub answered ${status}.`);
    this.status = status;
    this.code = error?.code || "unknown";
    this.data = error?.data || {};
  }
}

/** The answer as JSON. Throws `Refused`, or `TypeError` if the hub cannot be reached. */
export async function call(path, { method = "GET", body, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET") headers["X-CSRFToken"] = csrfToken();
  const response = await fetch(path, {
    method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin",
  });
  const answer = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) throw new Refused(response.status, answer?.error);
  return answer;
}

/** The token that proves to the hub that this page is its own. */
export function csrfToken() {
  return JSON.parse(document.body.getAttribute("hx-headers") || "{}")["X-CSRFToken"] || "";
}

/** What to tell a person about a failed call. */
export function explain(error) {
  return error instanceof Refused ? error.message : "The hub cannot be reached. Try again in a moment.";
}

/** A random UUID; `crypto.randomUUID` is missing where the hub is read over plain HTTP from another machine. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
