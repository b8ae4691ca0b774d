// Health with its reason in words, what has changed under the page, and the balance.

import { byId, element, mark, put } from "./dom.js";
import { outlook } from "./outlook.js";
import { clockOf } from "./sensors.js";
import { count, duration, number, rate, time, visible } from "./words.js";

const COLUMNS = ["received", "delivered", "deadLettered", "shed", "held"];

/** What is ready within this time, in milliseconds, is ready since its start. */
const START = 30_000;

/** What may be lost where no column shows it, in words. */
const LOSSES = [
  ["brokerDropped", (it) => `the broker has dropped ${count(it, "message")} of its clients`],
  ["sessionsLost", (it) => `a broker has lost ${count(it, "session")} of the gateway`],
  ["numbersMissing", (it) => `${count(it, "number")} of sensors ${it === 1 ? "has" : "have"} not come`],
  ["batchesWithoutSubscriber", (it) => `nobody subscribed when ${count(it, "batch", "batches")} went out`],
  ["spoolUnreadable", (it) => `${count(it, "reading")} in the spool cannot be read again`],
];

const ALL_IS_WELL = "Readings are taken and batches delivered, or would be.";

export function drawHealth(state, link, elapsed) {
  const { status, seen } = state;
  const health = link.isAway ? "unreachable" : status.health;
  const reason = link.isAway
    ? `No answer since ${time(seen)}. What is shown is from then.`
    : status.reason ?? ALL_IS_WELL;
  // Said once: a reason has seconds in it, and changes each second.
  if (byId("verdict").dataset.health !== health) put(byId("health-said"), `${health}: ${reason}`);
  mark(byId("verdict"), "data-health", health);
  put(byId("health-word"), health);
  put(byId("health-reason"), sentence(reason));
  const facts = [`up ${duration(Math.floor(status.uptimeSeconds + elapsed))}`, `since ${time(status.startedAt)}`];
  if (status.oldestReadingSeconds >= 1) facts.push(`oldest reading held ${duration(status.oldestReadingSeconds)}`);
  if (status.spoolingSeconds > 0) facts.push(`spooling for ${duration(status.spoolingSeconds)}`);
  const expected = link.isAway ? "" : outlook(state);
  if (expected) facts.push(`the spool is ${expected}`);
  put(byId("health-facts"), facts.join(" · "));
  drawBefore(status, link.isAway ? undefined : clockOf(state));
  put(byId("gateway"), status.gateway);
  put(byId("version"), status.version);
  document.title = `${health} · ${status.gateway} · Sluicegate`;
}

/** Since when the health is so, unless it is so since the start, and when it was degraded last. */
function drawBefore({ health, healthSince, startedAt, lastDegraded }, now) {
  const said = [];
  const lasts = (now - Date.parse(healthSince)) / 1000;
  if (lasts > 0 && Date.parse(healthSince) - Date.parse(startedAt) > START) said.push(`It has been ${health} for ${duration(Math.floor(lasts))}.`);
  if (lastDegraded) {
    const { times, from, until, reason } = lastDegraded;
    const lasted = duration(Math.round((Date.parse(until) - Date.parse(from)) / 1000));
    const often = times > 1 ? `It was degraded ${count(times, "time")} in this run; the last time` : "It was degraded once in this run,";
    said.push(`${often} from ${time(from)} to ${time(until)}, for ${lasted}. The last reason: ${visible(reason)}.`);
  }
  put(byId("health-before"), said.join(" "));
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

/** A restart changes what the numbers count from: it is said until somebody has read it. */
export function drawNotice(state) {
  const [node, restarted] = [byId("notice"), state.restarted];
  const key = restarted?.startedAt ?? "";
  if (node.dataset.of === key) return;
  node.dataset.of = key;
  node.replaceChildren();
  if (!restarted) return;
  const text = `The gateway has restarted, at ${time(restarted.startedAt)}. The balance counts from then.`;
  const close = element("button", { type: "button" }, "Dismiss");
  close.addEventListener("click", () => {
    node.replaceChildren();
    byId("health").focus();
  });
  node.append(element("p", { class: "notice" }, text, " ", close));
}

/** For how many statuses in turn the columns have not closed: one may be read while readings settle. */
let open = 0;
let judged;

function drawLosses({ losses = {} }) {
  const said = LOSSES.filter(([name]) => losses[name] > 0).map(([name, text]) => text(losses[name]));
  mark(byId("losses"), "data-some", said.length > 0 ? "yes" : undefined);
  put(byId("losses"), said.length > 0 ? `Possible loss since the start: ${said.join("; ")}.` : "No sign of loss before the gateway or behind it.");
}

export function drawBalance({ status, rates }) {
  drawLosses(status);
  const { balance } = status;
  for (const column of COLUMNS) {
    put(byId(column), number(balance[column]));
    const place = byId(`${column}-rate`);
    if (place) put(place, rates[column] === undefined ? "" : rate(rates[column]));
    mark(byId(column).closest("div"), "data-some", balance[column] > 0 ? "yes" : undefined);
  }
  put(byId("spooled"), balance.spooled ? `${number(balance.spooled)} on disk` : "");
  const missing = balance.received - balance.delivered - balance.deadLettered - balance.shed - balance.held;
  if (judged !== status) open = missing === 0 ? 0 : open + 1;
  judged = status;
  const closes = open < 5;
  mark(byId("closes"), "data-closes", closes ? "yes" : "no");
  put(byId("closes"), closes ? "The books close." : `The books do not close: ${number(missing)} readings are in no column.`);
}
