// Limits as gauges, with what happens at each in words.

import { byId, element, list, mark, put } from "./dom.js";
import { bytes, number } from "./words.js";

/** What a limit is called, and what happens there. `calm`: to be full is its work. */
const LIMITS = {
  queue_records: { name: "Queue", first: true, at: "The gateway stops reading. QoS 1 waits at the broker, queue.on_full decides for QoS 0." },
  queue_bytes: { name: "Queue, bytes", first: true, at: "As for the queue's records." },
  window_batches: { name: "Window", first: true, at: "Nothing more is published until the output acknowledges. Records wait in the queue." },
  spool_bytes: { name: "Spool", first: true, at: "Sources wait, as if there were no spool." },
  sensors: { name: "Sensors", first: true, at: "The sensor that was quiet for longest is forgotten. Where none can be, further ones are counted with their entry." },
  memory_bytes: { name: "Memory", first: true, at: "The process holds more than was computed from its settings." },
  batch_records: { name: "Open batch", calm: true, at: "The batch is sealed and published." },
  window_dead_letters: { name: "Dead letters in flight", at: "Further dead letters wait, and what they came from acknowledges no more." },
  waiting_dead_letters: { name: "Dead letters that wait", at: "They keep their places in the queue. It is full then." },
  spool_waiting_batches: { name: "Batches that wait for the disk", at: "Nothing more is sealed until they are written." },
  http_connections: { name: "HTTP connections", at: "A further one closes the one with the oldest last request." },
  http_answers: { name: "HTTP answers", at: "Further requests get 503. Health is always answered." },
};

const NEAR = 0.8;

function level({ name, value, max }) {
  const share = max > 0 ? value / max : 0;
  if (LIMITS[name]?.calm || share < NEAR) return "free";
  return share < 1 ? "near" : "full";
}

export function drawLimits({ limits, spoolingSeconds }) {
  const isFirst = (it) => LIMITS[it.name]?.first || level(it) !== "free";
  const order = Object.keys(LIMITS);
  const sorted = [...limits].sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  list(byId("gauges"), sorted.filter(isFirst), (it) => it.name, gauge);
  list(byId("further-gauges"), sorted.filter((it) => !isFirst(it)), (it) => it.name, gauge);
  byId("no-spool").hidden = limits.some((it) => it.name === "spool_bytes") || spoolingSeconds > 0;
  const [near, full] = ["near", "full"].map((it) => limits.filter((limit) => level(limit) === it).length);
  put(byId("count-limits"), full > 0 ? `${full} full` : near > 0 ? `${near} near` : "");
}

function gauge({ name, from }) {
  const known = LIMITS[name] ?? { name, at: "" };
  const value = element("span", { class: "value" });
  const word = element("span", { class: "word" });
  const bar = element("div", { class: "bar", role: "meter", "aria-label": known.name, "aria-valuemin": "0" });
  const top = element("p", { class: "line" }, element("strong", {}, known.name), " ", word, value);
  const effect = element("p", { class: "effect" }, known.at ? `When full: ${lower(known.at)} ` : "", element("code", {}, from));
  const node = element("li", {}, top, bar, effect);
  return {
    node,
    update(it) {
      const shown = name.endsWith("_bytes") ? bytes : number;
      const share = it.max > 0 ? it.value / it.max : 0;
      const is = level(it);
      mark(node, "data-level", is);
      put(word, is === "free" ? "" : is);
      put(value, `${shown(it.value)} of ${shown(it.max)} · ${Math.floor(share * 100)} %`);
      bar.style.setProperty("--share", `${Math.min(100, share * 100)}%`);
      mark(bar, "aria-valuemax", String(it.max));
      mark(bar, "aria-valuenow", String(Math.min(it.value, it.max)));
      mark(bar, "aria-valuetext", value.textContent);
    },
  };
}

const lower = (text) => text.charAt(0).toLowerCase() + text.slice(1);
