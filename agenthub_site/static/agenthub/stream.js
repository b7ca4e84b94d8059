// One run's events, each exactly once and in order, for as long as the page is open.
//
// History comes page by page over REST; then server-sent events follow from the last
// number seen. They are read with fetch instead of EventSource, because that shows every
// byte (so that silence is noticed), sends Last-Event-ID on every connection, and tells a
// 404 from a fallen line. A number that does not follow the last one is never skipped
// silently: the hole is read again over REST.

import { Refused, call } from "./api.js";

const PAGE = 5000;
/** The hub sends a heartbeat every 15 s: three missed ones mean that the line is dead. */
const SILENCE_MS = 45_000;
const FIRST_RETRY_MS = 400;
const LAST_RETRY_MS = 10_000;
/** Refusals that coming back does not change. */
const GONE_CODES = ["not_found", "forbidden", "unauthenticated", "invalid_token"];

export class RunStream {
  /**
   * `on.events(list, isMoreComing)` with envelopes in order; `on.state({state, reason, last_seq})`
   * on every connection and change; `on.status(name, message)`: connecting, live, reconnecting,
   * ended, gone; `on.gap({after, next})` for what is truly missing.
   */
  constructor(runId, on) {
    this.base = `/api/v1/runs/${runId}/events`;
    this.on = on;
    this.position = 0;
    this.stopped = false;
    this.retryMs = FIRST_RETRY_MS;
    this.wake = () => {};
    addEventListener("online", () => this.wake());
    document.addEventListener("visibilitychange", () => !document.hidden && this.wake());
  }

  /** Runs until the run's stream ends, the run is gone, or `stop()`. */
  async run() {
    this.on.status("connecting");
    while (!this.stopped) {
      try {
        await this.readHistory();
        if (await this.follow()) {
          this.on.status("ended");
          return;
        }
      } catch (error) {
        if (error instanceof Refused && [401, 403, 404].includes(error.status)) {
          this.on.status("gone", error.message);
          return;
        }
      }
      if (this.stopped) return;
      this.on.status("reconnecting");
      await this.pause();
    }
  }

  stop() {
    this.stopped = true;
    this.abort?.abort();
  }

  /** Everything after the last number seen, a page at a time. */
  async readHistory() {
    let next = this.readPage(this.position);
    for (;;) {
      const page = await next;
      if (!page.results.length) return;
      this.position = page.results.at(-1).seq;
      const isLast = this.position >= page.last_seq;
      if (!isLast) next = this.readPage(this.position); // comes while this one is shown
      this.on.events(page.results, !isLast);
      if (isLast) return;
      await new Promise((resolve) => setTimeout(resolve)); // let the page breathe
    }
  }

  readPage(after) {
    return call(`${this.base}?after=${after}&limit=${PAGE}`, { signal: AbortSignal.timeout(SILENCE_MS) });
  }

  /** Follow the live stream; true if the run's stream has ended. */
  async follow() {
    this.abort = new AbortController();
    let watchdog;
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => this.abort.abort(), SILENCE_MS);
    };
    alive();
    try {
      const response = await fetch(`${this.base}/stream`, {
        headers: { Accept: "text/event-stream", "Last-Event-ID": String(this.position) },
        signal: this.abort.signal,
        credentials: "same-origin",
        cache: "no-store",
      });
      if (!response.ok) throw new Refused(response.status, (await response.json().catch(() => null))?.error);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new FrameParser();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return false;
        alive();
        if (this.take(parser.push(value))) return true;
      }
    } finally {
      clearTimeout(watchdog);
      this.abort.abort();
    }
  }

  /** Handle frames; true at the end of the run's stream. Throws to have a hole read again. */
  take(frames) {
    const events = [];
    const flush = () => {
      if (events.length) this.on.events(events.splice(0), false);
    };
    for (const frame of frames) {
      if (frame.event === "message") {
        const event = JSON.parse(frame.data);
        if (event.seq <= this.position) continue;
        if (event.seq !== this.position + 1) {
          flush();
          throw new Error(`event ${event.seq} follows ${this.position}`);
        }
        this.position = event.seq;
        events.push(event);
        continue;
      }
      flush();
      if (this.takeNamed(frame.event, JSON.parse(frame.data || "{}"))) return true;
    }
    flush();
    return false;
  }

  /** What the reader is told beside the events; true at the end of the run's stream. */
  takeNamed(name, data) {
    if (name === "refused") throw new Refused(GONE_CODES.includes(data.error?.code) ? 404 : 503, data.error);
    if (name === "stream.gap") {
      this.position = data.next - 1;
      this.on.gap(data);
      return false;
    }
    this.retryMs = FIRST_RETRY_MS;
    if (data.state) this.on.state(data);
    if (name !== "end") this.on.status("live");
    return name === "end";
  }

  /** Wait before the next attempt: longer each time, shorter if the network or the reader comes back. */
  pause() {
    const wait = this.retryMs * (0.5 + Math.random() / 2);
    this.retryMs = Math.min(this.retryMs * 2, LAST_RETRY_MS);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Splits the text of a server-sent event stream into frames, across chunk edges. */
export class FrameParser {
  constructor() {
    this.rest = "";
  }

  push(text) {
    const blocks = (this.rest + text).replaceAll("\r\n", "\n").split("\n\n");
    this.rest = blocks.pop();
    return blocks.map(parseFrame).filter(Boolean);
  }
}

function parseFrame(block) {
  const frame = { event: "message", data: "" };
  let isEmpty = true;
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon === 0 || line === "") continue; // a comment
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") frame.data += (frame.data ? "\n" : "") + value;
    else if (name === "event") frame.event = value;
    if (name === "data" || name === "event") isEmpty = false;
  }
  return isEmpty ? null : frame;
}
