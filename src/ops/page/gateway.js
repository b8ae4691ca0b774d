// Asks the gateway. It follows the stream of events; where there is none, it asks for the status each second.
//
// The link is told as it is: `connecting`, `live`, `away` (and since when) or `locked` (a token is asked for).

const TOKEN = "sluicegate-token";

/** A stream that has said nothing for so long is taken to be broken: a comment comes each 15 seconds. */
const QUIET_MAX = 25_000;

/** An answer that takes longer does not come. */
const ANSWER_MAX = 10_000;

const LISTS = [["history", "/api/history"], ["dead_letters", "/api/dead-letters"], ["warnings", "/api/warnings"]];

/** The first and the longest pause before the gateway is asked again. */
const PAUSES = [1000, 5000];

/** How often the status is asked for without a stream, and after how many times the stream is tried again. */
const POLL = 1000;
const POLLS = 10;

const pause = (time) => new Promise((done) => setTimeout(done, time));

export class Gateway {
  /** `take(name, data)` gets events, `link(word)` the link, `ask(again)` gives a token. */
  constructor({ take, link, ask }) {
    Object.assign(this, { take, link, ask });
    this.asking = undefined;
    this.failures = 0;
  }

  /** What is at this path, or undefined where there is no such path. */
  async get(path) {
    const answer = await this.#fetch(path, AbortSignal.timeout(ANSWER_MAX));
    if (answer.status === 404) return undefined;
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${(await answer.text()).trim()}`);
    return answer.json();
  }

  /** Follows the gateway for ever. */
  async follow() {
    for (;;) {
      try {
        await this.#stream() || await this.#poll();
      } catch {
        // It was away before: each time is a little later.
      }
      this.link("away");
      await pause(Math.min(PAUSES[0] * 1.5 ** this.failures, PAUSES[1]));
      this.failures += 1;
    }
  }

  #heard() {
    this.link("live");
    this.failures = 0;
  }

  /** What a stream does not tell again: what was before it. */
  async #lists() {
    for (const [name, path] of LISTS) {
      const data = await this.get(path);
      if (data) this.take(name, data);
    }
  }

  /** Follows the stream to its end; false where there is none. */
  async #stream() {
    const quiet = new AbortController();
    let timer;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => quiet.abort(), QUIET_MAX);
    };
    heard();
    try {
      const answer = await this.#fetch("/api/stream", quiet.signal, "text/event-stream");
      if (!answer.ok) {
        await answer.body?.cancel();
        return false;
      }
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let lists;
      for (let text = ""; ; ) {
        const { value, done } = await reader.read();
        if (done) return true;
        heard();
        this.#heard();
        const events = (text + value).split("\n\n");
        text = events.pop();
        events.forEach((it) => this.#event(it));
        // Behind the first status, which tells whether this is another run.
        if (events.length > 0) lists ??= this.#lists().catch(() => quiet.abort());
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #event(text) {
    const fields = text.split("\n").map((line) => line.split(/: ?(.*)/s));
    const of = (name) => fields.filter(([it]) => it === name).map(([, value]) => value ?? "").join("\n");
    if (of("data")) this.take(of("event") || "message", JSON.parse(of("data")));
  }

  async #poll() {
    for (let turn = 0; turn < POLLS; turn += 1) {
      this.take("status", await this.get("/api/status"));
      this.#heard();
      if (turn === 0) await this.#lists();
      await pause(POLL);
    }
    return true;
  }

  async #fetch(path, signal, accept = "application/json") {
    for (let again = false; ; again = true) {
      const token = sessionStorage.getItem(TOKEN);
      const headers = { accept, ...(token && { authorization: `Bearer ${token}` }) };
      const answer = await fetch(path, { headers, signal, cache: "no-store" });
      if (answer.status !== 401) return answer;
      await this.#unlock(token, again);
    }
  }

  /** Asks for a token: once, however many requests were refused. */
  async #unlock(refused, again) {
    if (sessionStorage.getItem(TOKEN) !== refused) return;
    this.link("locked");
    this.asking ??= this.ask(again || refused !== null).then((token) => {
      // What no header can hold is no token: it is refused like another wrong one.
      sessionStorage.setItem(TOKEN, token.replace(/[^\x21-\x7e]/g, "?"));
      this.asking = undefined;
    });
    await this.asking;
  }
}
