// Dead letters and warnings, the newest first.

import { byId, element, list, put } from "./dom.js";
import { count, number, quoted, time, visible, visibleLines } from "./words.js";

/** Rows that are shown before somebody asks for more. */
const FEW = 3;

const all = { letters: false, warnings: false };

for (const name of Object.keys(all)) {
  byId(`${name}-more`).addEventListener("click", () => {
    all[name] = !all[name];
    shorten(name);
  });
}

let last;

export function drawLetters(state) {
  last = state;
  const { letters, status } = state;
  list(byId("letters-list"), shown("letters"), keyOf, (it) => ({ node: letter(it, true) }));
  const total = status.balance.deadLettered;
  put(byId("count-letters"), total > 0 ? number(total) : "");
  put(byId("letters-span"), letters.length > 0 ? `the last ${number(letters.length)}` : "");
  put(byId("letters-none"), total > 0 ? `${count(total, "dead letter")} since the start, none of them here.` : "None since the start.");
  byId("letters-none").hidden = letters.length > 0;
  shorten("letters", false);
}

export function drawWarnings(state) {
  last = state;
  list(byId("warnings-list"), shown("warnings"), keyOf, (it) => ({ node: warning(it) }));
  put(byId("count-warnings"), state.warnings.length > 0 ? number(state.warnings.length) : "");
  byId("warnings-none").hidden = state.warnings.length > 0;
  shorten("warnings", false);
}

const shown = (name) => (all[name] ? last[name] : last[name].slice(0, FEW));

function shorten(name, draw = true) {
  const more = byId(`${name}-more`);
  more.hidden = last[name].length <= FEW;
  put(more, all[name] ? "Show fewer" : `Show all ${number(last[name].length)}`);
  if (draw) (name === "letters" ? drawLetters : drawWarnings)(last);
}

const keyOf = (it) => `${it.number} ${it.at}`;

/** A dead letter, with the command that shows the mapping which refused it. */
export function letter(it, withSensor) {
  const who = [it.entry, it.sensorId].filter(Boolean).map(visible).join(" / ");
  const top = element("p", { class: "line" }, element("span", { class: "reason" }, visible(it.reason)));
  if (withSensor) top.append(element("strong", {}, element("bdi", {}, who)));
  top.append(element("time", { class: "value", datetime: it.at }, time(it.at)));
  const detail = element("p", {}, element("bdi", {}, visible(it.detail ?? "")));
  if (it.topic) detail.append(" ", element("small", {}, "on ", element("code", {}, element("bdi", {}, visible(it.topic)))));
  const node = element("li", {}, top, detail);
  // Of one that is no longer among the last ones the gateway knows the reason only.
  if (it.number === undefined) node.append(element("p", { class: "effect" }, "It is no longer among the last dead letters of all sensors: its payload is not kept here."));
  else node.append(payload(it), explained(it));
  return node;
}

/** Whether this is not all of its payload. */
function isCut({ payload, payloadBase64, payloadBytes }) {
  const shown = payloadBase64 === undefined ? new TextEncoder().encode(payload ?? "") : atob(payloadBase64);
  return shown.length < payloadBytes;
}

function payload(it) {
  const isText = it.payloadBase64 === undefined;
  if (it.payloadBytes === 0) return element("p", { class: "effect" }, "The payload is empty.");
  const of = `${isCut(it) ? "the head of a payload" : "a payload"} of ${count(it.payloadBytes, "byte")}`;
  const words = isText ? of : `${of}, in base64`;
  const text = element("bdi", {}, visibleLines(isText ? it.payload : it.payloadBase64));
  const shown = element("pre", { class: "payload", tabindex: "0", role: "group", "aria-label": words }, text);
  return isText && !isCut(it) ? shown : element("div", {}, shown, element("p", { class: "effect" }, words));
}

/** The command that explains a dead letter. */
export function command(it) {
  const asked = ["sluicegate", "explain"];
  if (it.entry) asked.push("--entry", it.entry);
  if (it.topic) asked.push("--topic", it.topic);
  // No argument of a program has a NUL in it.
  const base64 = it.payload?.includes("\0") ? base64Of(it.payload) : it.payloadBase64;
  if (base64 !== undefined) return `printf %s ${quoted(base64)} | base64 -d | ${asked.map(quoted).join(" ")}`;
  return [...asked, "--payload", it.payload ?? ""].map(quoted).join(" ");
}

const base64Of = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

function explained(it) {
  const text = command(it);
  const copy = element("button", { type: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      put(copy, "Copied");
    } catch {
      getSelection().selectAllChildren(code);
      put(copy, "Selected");
    }
  });
  const code = element("code", {}, text);
  const shown = element("pre", { class: "payload", tabindex: "0", role: "group", "aria-label": "Command" }, code);
  const why = ["This shows the mapping that refused it, and what helps. Add --config where your file is elsewhere."];
  if (isCut(it)) why.push("It has the head of the payload only.");
  return element("details", {}, element("summary", {}, "Which mapping refused it?"), element("p", { class: "effect" }, why.join(" ")), shown, copy);
}

function warning(it) {
  const fields = Object.entries(it.fields ?? {}).map(([name, value]) => `${visible(name)}=${visible(typeof value === "string" ? value : JSON.stringify(value))}`);
  const top = element("p", { class: "line" }, element("span", { class: "reason", "data-level": String(it.level).toLowerCase() }, String(it.level).toLowerCase()), element("time", { class: "value", datetime: it.at }, time(it.at)));
  const node = element("li", {}, top, element("p", {}, element("bdi", {}, visible(it.message ?? ""))));
  if (fields.length > 0) node.append(element("p", { class: "effect" }, element("bdi", {}, fields.join(" "))));
  return node;
}
