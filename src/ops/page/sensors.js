// Entries, and their sensors page by page: the gateway sorts and searches, so that 50,000 cost a browser what 100 do.
//
// A page of the list is asked for when somebody asks, when a sensor has changed its state, and every few seconds while
// it can be seen. The places of the pages before it are kept for the way back.

import { byId, element, list, mark, put, state } from "./dom.js";
import { ago, count, duration, number, visible } from "./words.js";

/** Sensors of a page. */
const LIMIT = 100;

/** How often a page is asked for again. */
const AGAIN = 3000;

/** How long a search waits for its next letter. */
const TYPING = 200;

export const sensorPath = (entry, id) => `${encodeURIComponent(entry)}/${encodeURIComponent(id)}`;

/** The gateway's clock: a browser's may be wrong. */
export function clockOf({ status, seen }) {
  return Date.parse(status.startedAt) + status.uptimeSeconds * 1000 + (Date.now() - seen);
}

export class Sensors {
  #gateway;
  /** `after` of the pages up to this one; the first has none. */
  #places = [undefined];
  #page = { total: 0, sensors: [] };
  #asked = 0;
  #due = 0;
  #typing;

  constructor(gateway) {
    this.#gateway = gateway;
    const form = byId("ask");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#turn([undefined]), event.target.name === "search" ? TYPING : 0);
    });
    byId("first").addEventListener("click", () => this.#turn([undefined]));
    byId("back").addEventListener("click", () => this.#turn(this.#places.slice(0, -1)));
    byId("on").addEventListener("click", () => this.#turn([...this.#places, this.#page.next]));
  }

  /** A sensor has changed: the page is not what the gateway would say now. */
  stale() {
    this.#due = Math.min(this.#due, Date.now() + 500);
  }

  draw(state) {
    drawEntries(state);
    if (Date.now() >= this.#due && !document.hidden) this.#ask();
    this.#drawPage(state);
  }

  #turn(places) {
    this.#places = places;
    this.#ask(true);
  }

  async #ask(turned) {
    this.#due = Date.now() + AGAIN;
    const query = new URLSearchParams({ limit: LIMIT });
    for (const [name, value] of new FormData(byId("ask"))) if (value) query.set(name, value);
    const after = this.#places.at(-1);
    if (after) query.set("after", after);
    // An answer that comes after that of a later question is thrown away.
    const asked = (this.#asked += 1);
    try {
      const page = await this.#gateway.get(`/api/sensors?${query}`);
      if (asked !== this.#asked || !page) return;
      this.#page = page;
      if (turned) byId("sensor-scroll").scrollTop = 0;
      this.#drawPage();
    } catch {
      // The link tells of it; the page is asked for again.
    }
  }

  #state;

  #drawPage(state = this.#state) {
    if (!state) return;
    this.#state = state;
    const { total, sensors, next } = this.#page;
    const now = clockOf(state);
    list(byId("sensor-rows"), sensors.map((it) => ({ ...it, now })), (it) => `${it.entry ?? ""}/${it.sensorId}`, row);
    const [page, pages] = [this.#places.length, Math.max(1, Math.ceil(total / LIMIT))];
    put(byId("sensor-place"), total === 0 ? "No sensor is such." : `${count(total, "sensor")}, page ${number(page)} of about ${number(Math.max(page, pages))}`);
    byId("first").disabled = byId("back").disabled = page === 1;
    byId("on").disabled = !next;
  }
}

function row({ entry, sensorId }) {
  const is = state("online");
  const name = visible(sensorId);
  const title = element(entry ? "a" : "span", { href: entry ? `#/sensor/${sensorPath(entry, sensorId)}` : undefined }, element("bdi", {}, name));
  const cells = ["last", "every", "received", "dead-lettered", "gaps"].map(() => element("td", { class: "number" }));
  const who = element("th", { scope: "row" }, title, element("small", {}, entry ? visible(entry) : "of no entry"));
  const node = element("tr", {}, element("td", {}, is.node), who, ...cells);
  return {
    node,
    update(it) {
      is.update(it.state);
      mark(node, "data-state", it.state);
      const texts = [ago(it.lastReceivedAt, it.now), it.intervalSeconds === undefined ? "–" : duration(it.intervalSeconds), number(it.received), number(it.deadLettered), number(it.missing)];
      texts.forEach((text, at) => put(cells[at], text));
    },
  };
}

function drawEntries({ status, seen }) {
  const now = clockOf({ status, seen });
  const entries = status.sensors.filter((it) => it.sensors > 0 || it.received > 0 || it.name !== "(others)");
  list(byId("entries"), entries.map((it) => ({ ...it, now })), (it) => it.name, entryRow);
  const [all, late, silent] = ["sensors", "late", "silent"].map((it) => status.sensors.reduce((sum, entry) => sum + entry[it], 0));
  put(byId("sensors-span"), `${number(all)}: ${number(all - late - silent)} online, ${number(late)} late, ${number(silent)} silent`);
  put(byId("count-sensors"), silent > 0 ? `${number(silent)} silent` : "");
  list(byId("ask-entry"), [{ name: "" }, ...entries.filter((it) => it.name !== "(others)")], (it) => it.name, ({ name }) => ({ node: element("option", { value: name }, name || "all") }));
}

function entryRow({ name }) {
  const shares = ["online", "late", "silent"].map((it) => element("span", { "data-state": it }));
  const bar = element("div", { class: "shares", "aria-hidden": "true" }, ...shares);
  const words = element("span", {});
  const cells = ["received", "dead-lettered", "last"].map(() => element("td", { class: "number" }));
  const node = element("tr", {}, element("th", { scope: "row" }, element("bdi", {}, visible(name))), element("td", {}, words, bar), ...cells);
  return {
    node,
    update(it) {
      const parts = [it.sensors - it.late - it.silent, it.late, it.silent];
      parts.forEach((part, at) => {
        shares[at].style.setProperty("--share", String(part));
        mark(shares[at], "data-some", part > 0 ? "yes" : undefined);
      });
      put(words, parts.map(number).join(", "));
      put(cells[0], it.waiting > 0 ? `${number(it.received)} + ${number(it.waiting)} waiting` : number(it.received));
      put(cells[1], number(it.deadLettered));
      put(cells[2], ago(it.lastReceivedAt, it.now));
    },
  };
}
