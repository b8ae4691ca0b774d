// The page at `/`: what the gateway says becomes the state, and the state is drawn.
//
// Events may come faster than anyone reads: it is drawn at most four times a second. Once a second it is drawn anyway,
// since ages grow.

import { Charts } from "./charts.js";
import { drawConnections } from "./connections.js";
import { byId } from "./dom.js";
import { Gateway } from "./gateway.js";
import { drawLetters, drawWarnings } from "./journal.js";
import { drawLimits } from "./limits.js";
import { Link } from "./link.js";
import { drawBalance, drawHealth, drawNotice } from "./overview.js";
import { Sensor } from "./sensor.js";
import { Sensors, clockOf } from "./sensors.js";
import { nothing, take } from "./state.js";

const DRAW_PAUSE = 250;

const state = nothing();
const link = new Link();
let drawing = false;

function changed() {
  if (drawing) return;
  drawing = true;
  setTimeout(() => {
    drawing = false;
    draw();
  }, DRAW_PAUSE);
}

const gateway = new Gateway({
  take(name, data) {
    take(state, name, data, Date.now());
    if (name === "sensor" || name === "sensors") sensors.stale();
    changed();
  },
  link(word) {
    link.is(word);
    changed();
  },
  ask: (again) => link.askToken(again),
});

const charts = new Charts(byId("throughput"), byId("latency"));
const sensors = new Sensors(gateway);
const sensor = new Sensor(gateway, state);

function draw() {
  link.draw(state);
  if (!state.status) return;
  // What the gateway does not say again has grown older meanwhile.
  const elapsed = link.isAway ? 0 : (Date.now() - state.seen) / 1000;
  drawHealth(state, link, elapsed);
  drawNotice(state);
  drawBalance(state);
  charts.draw(state);
  drawLimits(state.status);
  drawConnections(state.status, elapsed, clockOf(state));
  drawLetters(state);
  drawWarnings(state);
  sensors.draw(state);
  sensor.draw();
}

setInterval(changed, 1000);
gateway.follow();
