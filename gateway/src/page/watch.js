// Reads the gateway's event stream. It uses fetch and not EventSource, which cannot send an API key.

/** Without an event for this long, what is shown is stale. */
export const STALE_AFTER = 3000;
/** Without an event for this long, the connection is given up. */
const LOST_AFTER = 6000;
const LONGEST_PAUSE = 5000;
const LARGEST_EVENT = 8 * 1024 * 1024;

/** Splits text that arrives in pieces into server-sent events. */
export class EventParser {
  #rest = "";
  #name = "";
  #data = [];

  constructor(onEvent) {
    this.onEvent = onEvent;
  }

  push(text) {
    this.#rest += text;
    // A lone carriage return at the end may be the first half of a line's end.
    const lines = this.#rest.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    if (this.#rest.length > LARGEST_EVENT) throw new Error("an event is too large");
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === "") {
      if (this.#data.length > 0) this.onEvent(this.#name || "message", this.#data.join("\n"));
      this.#name = "";
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#name = value;
    if (field === "data") this.#data.push(value);
  }
}

/**
 * Watches until the page ends, and reconnects with backoff. `onState` gets "connecting", "live", "stale", "lost", "key",
 * "forbidden" or "refused", and the service's message where it has one.
 */
export class Watch {
  #state = "";
  #heard = 0;
  #stop = new AbortController();
  #wake = () => {};

  constructor({ key, onEvent, onState }) {
    this.key = key;
    this.onEvent = onEvent;
    this.onState = onState;
  }

  /** Milliseconds since the last event. */
  get silence() {
    return performance.now() - this.#heard;
  }

  start() {
    this.#heard = performance.now();
    this.#report("connecting");
    setInterval(() => this.#check(), 250);
    window.addEventListener("online", () => this.#wake());
    this.#run();
  }

  /** Connects again at once, with the key of now. */
  restart() {
    this.#stop.abort();
    this.#wake();
  }

  #report(state, message = "") {
    if (state === this.#state && !message) return;
    this.#state = state;
    this.onState(state, message);
  }

  #check() {
    if (this.#state === "live" && this.silence > STALE_AFTER) this.#report("stale");
    if (this.#state === "stale" && this.silence > LOST_AFTER) this.#stop.abort();
  }

  async #run() {
    let failures = 0;
    for (;;) {
      this.#stop = new AbortController();
      const began = performance.now();
      const pause = await this.#connect().catch(() => null);
      failures = performance.now() - began > 2000 ? 0 : failures + 1;
      if (pause === null) this.#report("lost");
      // Without a valid key only the user can help; the long pause is for a service that changes its keys.
      await this.#sleep(pause ?? Math.min(LONGEST_PAUSE, 200 * 2 ** failures) * (0.75 + Math.random() / 2));
    }
  }

  #sleep(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Reads one connection to its end. Returns the pause before the next one, or null for the usual one. */
  async #connect() {
    const headers = { accept: "text/event-stream, application/json" };
    if (this.key()) headers["x-api-key"] = this.key();
    const response = await fetch("/v1/watch", { headers, signal: this.#stop.signal, cache: "no-store" });
    if (!response.ok) return this.#refused(response);
    const parser = new EventParser((name, data) => {
      this.#heard = performance.now();
      this.#report("live");
      this.onEvent(name, JSON.parse(data));
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return null;
        parser.push(value);
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  async #refused(response) {
    const body = await response.json().catch(() => null);
    const message = body?.error?.message ?? `the gateway answered ${response.status}`;
    if (response.status === 401) {
      this.#report("key", message);
      return 30000;
    }
    if (response.status === 403) {
      this.#report("forbidden", message);
      return 30000;
    }
    if (response.status === 429 || response.status === 404) {
      this.#report("refused", message);
      return 1000 * Math.max(3, Number(response.headers.get("retry-after")) || 0);
    }
    return null;
  }
}
