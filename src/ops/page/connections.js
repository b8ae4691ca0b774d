// Each connection to a broker: whether it stands, since when, and what was last wrong with it. And certificates that expire soon.

import { byId, element, list, put, state } from "./dom.js";
import { count, duration, time, visible } from "./words.js";

/** A certificate that expires within this time is shown, in milliseconds. The gateway warns of it in its log. */
const NEAR = 14 * 86_400_000;

const KINDS = { ca: "CA certificate", client: "certificate of the gateway", server: "certificate of the broker" };

export function drawConnections({ sessions, certificates = [] }, elapsed, now) {
  list(byId("sessions"), sessions.map((it) => ({ ...it, elapsed })), (it) => it.name, session);
  const away = sessions.filter((it) => !it.usable).length;
  const near = certificates.map((it) => ({ ...it, left: Date.parse(it.expiresAt) - now })).filter((it) => it.left < NEAR);
  list(byId("certificates"), near, (it) => `${it.broker} ${it.kind}`, certificate);
  byId("certificates").hidden = near.length === 0;
  put(byId("count-connections"), away > 0 ? `${away} away` : "");
}

function session({ name }) {
  const is = state("away");
  const age = element("span", { class: "value" });
  const trouble = element("p", { class: "effect" });
  const title = name === "output" ? "Output" : name;
  const node = element("li", {}, element("p", { class: "line" }, is.node, element("strong", {}, title), age), trouble);
  return {
    node,
    update(it) {
      is.update(it.usable ? "connected" : "away");
      put(age, `for ${duration(Math.floor(it.forSeconds + it.elapsed))} · ${it.connections === 0 ? "never connected" : count(it.connections, "connection")}`);
      put(trouble, it.lastTrouble ? `${it.usable ? "Last trouble" : "Trouble"}: ${visible(it.lastTrouble)}` : "");
    },
  };
}

function certificate({ broker, kind }) {
  const word = element("span", { class: "reason", "data-level": "warn" });
  const when = element("time", { class: "value" });
  const file = element("p", { class: "effect" });
  const title = `${KINDS[kind] ?? kind}, [${broker}]`;
  const node = element("li", {}, element("p", { class: "line" }, word, element("strong", {}, visible(title)), when), file);
  return {
    node,
    update(it) {
      put(word, it.left > 0 ? `expires in ${duration(Math.floor(it.left / 1000))}` : "has expired");
      put(when, time(it.expiresAt));
      put(file, it.file ? visible(it.file) : "as the broker has shown it last");
    },
  };
}
