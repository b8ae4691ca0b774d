// Each connection to a broker: whether it stands, since when, and what was last wrong with it.

import { byId, element, list, put, state } from "./dom.js";
import { count, duration, visible } from "./words.js";

export function drawConnections({ sessions }, elapsed) {
  list(byId("sessions"), sessions.map((it) => ({ ...it, elapsed })), (it) => it.name, session);
  const away = sessions.filter((it) => !it.usable).length;
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
