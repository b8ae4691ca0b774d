// Throughput and latency of the last 15 minutes.
//
// The lines differ in their dashes too. What a chart shows is also a sentence, for who cannot see it.

import uPlot from "./vendor/uPlot.js";
import { element, mark, put } from "./dom.js";
import { duration, rate } from "./words.js";

const SPAN = 15 * 60;

/** Seconds without a step that are a pause. */
const LATE = 12;

const rateOf = (column) => (steps) => steps.map((it) => (it.seconds ? it[column] / it.seconds : null));
const valueOf = (column) => (steps) => steps.map((it) => it[column] ?? null);

const RATES = [
  { label: "received", color: "--line-1", width: 2, of: rateOf("received") },
  { label: "delivered", color: "--line-2", dash: [6, 4], width: 2, of: rateOf("delivered") },
  { label: "dead-lettered", color: "--line-3", dash: [2, 3], width: 2, of: rateOf("deadLettered") },
  { label: "shed", color: "--line-4", dash: [10, 3, 2, 3], width: 2, of: rateOf("shed") },
];

const LATENCIES = [
  { label: "99 of 100 batches", color: "--line-1", width: 2, of: valueOf("p99Seconds") },
  { label: "half of them", color: "--line-2", dash: [6, 4], width: 2, of: valueOf("p50Seconds") },
  { label: "oldest reading held", color: "--line-3", dash: [2, 3], width: 2, of: valueOf("oldestReadingSeconds") },
];

export class Charts {
  constructor(throughput, latency) {
    this.throughput = new Chart(throughput, "Throughput", "readings a second", RATES, rate);
    this.latency = new Chart(latency, "Latency", "from receipt to acknowledgement", LATENCIES, duration);
  }

  draw({ steps }) {
    const whole = withPauses(steps);
    this.throughput.draw(whole);
    this.latency.draw(whole);
  }
}

/** The steps, with an empty one in each pause: no line is drawn over what nobody knows. */
function withPauses(steps) {
  return steps.flatMap((step, at) => {
    const began = Date.parse(step.at) - step.seconds * 1000;
    const isLate = at > 0 && began - Date.parse(steps[at - 1].at) > LATE * 1000;
    return isLate ? [{ at: new Date(began - 1).toISOString() }, step] : [step];
  });
}

class Chart {
  constructor(parent, title, unit, series, words) {
    Object.assign(this, { title, series, words, steps: [], data: [[]] });
    this.place = element("div", { class: "plot", role: "img" });
    this.values = series.map(() => element("b", {}));
    const keys = series.map((it, at) => {
      const key = element("span", { class: "key", "aria-hidden": "true", "data-line": String(at + 1) });
      return element("li", {}, key, it.label, " ", this.values[at]);
    });
    const heading = element("h3", {}, title, " ", element("small", {}, unit));
    parent.append(element("div", { class: "plot-head" }, heading, element("ul", { class: "keys" }, ...keys)), this.place);
    new ResizeObserver(() => this.plot?.setSize(this.#size())).observe(this.place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#anew());
  }

  draw(steps) {
    this.steps = steps;
    this.now = Date.now() / 1000;
    const data = this.series.map((it) => it.of(steps));
    // A line that is 0 all along says nothing but its number.
    this.shown = data.map((line) => line.some((it) => it > 0));
    this.data = [steps.map((it) => Date.parse(it.at) / 1000), ...data];
    if (!this.plot && steps.length > 0) this.plot = new uPlot(this.#options(), this.data, this.place);
    this.plot?.setData(this.data.map((line, at) => (at === 0 || this.shown[at - 1] ? line : line.map(() => null))));
    this.#tell(this.plot?.cursor.idx);
  }

  /** Writes the values under the cursor, or the last ones. */
  #tell(at) {
    const lines = this.data.slice(1);
    const last = lines.map((line) => line[at ?? line.length - 1]);
    last.forEach((value, line) => put(this.values[line], value == null ? "–" : this.words(value)));
    const told = this.series.map(({ label }, line) => {
      const values = lines[line].filter((it) => it != null);
      return values.length > 0 ? `${label} ${this.words(values.at(-1))}, at most ${this.words(Math.max(...values))}` : undefined;
    });
    mark(this.place, "aria-label", `${this.title}: ${told.filter(Boolean).join("; ") || "nothing yet"}`);
  }

  /** Its colours are others now. */
  #anew() {
    this.plot?.destroy();
    this.plot = undefined;
    this.draw(this.steps);
  }

  #size() {
    const style = getComputedStyle(this.place);
    return { width: Math.max(200, this.place.clientWidth), height: parseFloat(style.height) || 160 };
  }

  #options() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const font = `${parseFloat(style.fontSize) * 0.75}px system-ui, sans-serif`;
    const axis = { stroke: color("--muted"), font, grid: { stroke: color("--grid"), width: 1 }, ticks: { show: false } };
    const clock = (_, times) => times.map((it) => new Date(it * 1000).toTimeString().slice(0, 5));
    return {
      ...this.#size(),
      padding: [8, 20, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 6 } },
      scales: { x: { range: () => [this.now - SPAN, this.now] }, y: { range: (_, low, high) => [0, Math.max((high ?? 0) * 1.1, 0.01)] } },
      axes: [
        { ...axis, values: clock, space: 60, size: 28 },
        { ...axis, values: (_, values) => values.map((it) => this.words(it)), size: 66, space: 26 },
      ],
      series: [{}, ...this.series.map((it, at) => ({
        label: it.label, stroke: color(it.color), width: it.width, dash: it.dash, points: { show: false },
        fill: at === 0 ? color("--fill") : undefined,
      }))],
      hooks: { setCursor: [(plot) => this.data && this.#tell(plot.cursor.idx ?? undefined)] },
    };
  }
}
