// One sensor: its state and since when, its interval, balance and gaps, and its last dead letter. Its address is
// `#/sensor/{entry}/{id}`, so it can be sent to somebody.

import { byId, element, mark, put, state } from "./dom.js";
import { letter } from "./journal.js";
import { clockOf, sensorPath } from "./sensors.js";
import { ago, duration, number, rate, time, visible } from "./words.js";

/** How often it is asked for while it is shown. */
const AGAIN = 1000;

const FACTS = [
  ["since", (it, now) => (it.since ? `${time(it.since)}, ${ago(it.since, now)}` : "–")],
  ["last value", (it) => lastValue(it.lastValue)],
  ["last reading", (it, now) => (it.lastReceivedAt ? `${time(it.lastReceivedAt)}, ${ago(it.lastReceivedAt, now)}` : "none yet")],
  ["first reading", (it) => (it.firstReceivedAt ? time(it.firstReceivedAt) : "none yet")],
  ["reports every", (it) => (it.intervalSeconds === undefined ? "not known yet" : duration(it.intervalSeconds))],
  ["rate", (it) => rate(it.readingsPerSecond)],
  ["received", (it) => number(it.received)],
  ["delivered", (it) => number(it.delivered)],
  ["dead-lettered", (it) => number(it.deadLettered)],
  ["shed", (it) => (it.shedBy ? `${number(it.shed)}: ${shedBy(it.shedBy)}` : number(it.shed))],
  ["held", (it) => number(it.held)],
  ["gaps", (it) => (it.missing > 0 ? `${number(it.missing)} of its own numbers have not come` : "none")],
];

function shedBy(policies) {
  return Object.entries(policies).map(([policy, count]) => `${number(count)} by ${policy}`).join(", ");
}

function lastValue(value) {
  if (value === undefined) return "none yet";
  return visible(typeof value === "string" ? value : JSON.stringify(value));
}

export class Sensor {
  #gateway;
  #state;
  #dialog = byId("sensor");
  #of;
  #asked = 0;
  #facts;

  constructor(gateway, state) {
    this.#gateway = gateway;
    this.#state = state;
    addEventListener("hashchange", () => this.#open());
    this.#dialog.addEventListener("close", () => {
      this.#of = undefined;
      if (location.hash.startsWith("#/sensor/")) history.pushState(null, "", location.pathname);
    });
    this.#open();
  }

  #open() {
    const named = /^#\/sensor\/([^/]+)\/([^/]+)$/.exec(location.hash);
    if (!named) {
      this.#dialog.close();
      return;
    }
    const [entry, id] = named.slice(1).map((it) => decodeURIComponent(it));
    this.#of = { entry, id };
    this.#facts = undefined;
    this.#asked = 0;
    put(byId("sensor-title"), visible(id));
    byId("sensor-body").replaceChildren();
    if (!this.#dialog.open) this.#dialog.showModal();
    this.draw();
  }

  draw() {
    if (this.#of && this.#state.status && Date.now() - this.#asked >= AGAIN) this.#ask(this.#of);
  }

  async #ask(of) {
    this.#asked = Date.now();
    try {
      const sensor = await this.#gateway.get(`/api/sensors/${sensorPath(of.entry, of.id)}`);
      if (of !== this.#of) return;
      if (sensor) this.#show(sensor);
      else byId("sensor-body").replaceChildren(element("p", {}, "Nothing has come of this sensor in this run of the gateway."));
    } catch {
      // The link tells of it; it is asked for again.
    }
  }

  #show(sensor) {
    this.#facts ??= this.#made();
    this.#facts(sensor);
  }

  /** Makes what is shown of a sensor, and gives what updates it. */
  #made() {
    const is = state("online");
    const places = FACTS.map(([name]) => [element("dt", {}, name), element("dd", {})]);
    const refused = element("ol", { class: "rows" });
    byId("sensor-body").replaceChildren(
      element("p", { class: "line" }, is.node, element("span", {}, `of entry ${visible(this.#of.entry)}`)),
      element("dl", { class: "facts-of" }, ...places.map((pair) => element("div", {}, ...pair))),
      element("h3", {}, "Last dead letter"),
      refused,
    );
    let last = null;
    return (sensor) => {
      is.update(sensor.state);
      const now = clockOf(this.#state);
      FACTS.forEach(([, text], at) => put(places[at][1], text(sensor, now)));
      const found = sensor.lastDeadLetter ?? this.#state.letters.find((it) => it.entry === sensor.entry && it.sensorId === sensor.sensorId);
      // What is open, or selected, stays so until there is another one.
      const of = found && `${found.number} ${found.at}`;
      if (of === last) return;
      last = of;
      mark(refused, "hidden", undefined);
      refused.replaceChildren(found ? letter(found, false) : element("li", {}, sensor.deadLettered > 0 ? "It is no longer among the last ones." : "None."));
    };
  }
}
