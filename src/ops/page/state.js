// What the page knows, made of events. It is pure: the same events make the same state.

/** Dead letters, and warnings, that are kept. The gateway keeps no more. */
const ROWS_MAX = 100;

/** Steps of the history, and the length of one in milliseconds. */
const STEPS_MAX = 180;
const STEP = 5000;

/** Rates are those of so many milliseconds. */
const RATE_SPAN = 10_000;

export function nothing() {
  return { status: undefined, seen: 0, rates: {}, samples: [], steps: [], letters: [], warnings: [], restarted: undefined };
}

/** Takes an event: its name, what it says, and when it came, in milliseconds. */
export function take(state, name, data, at) {
  switch (name) {
    case "status": return status(state, data, at);
    case "history": return steps(state, data.steps ?? [data], at);
    case "dead_letters": return rows(state, "letters", data.deadLetters);
    case "dead_letter": return rows(state, "letters", [data]);
    case "warnings": return rows(state, "warnings", data.warnings);
    case "warning": return rows(state, "warnings", [data]);
    default: return state;
  }
}

function status(state, data, at) {
  const before = state.status;
  if (before && before.startedAt !== data.startedAt) {
    // Numbers begin anew.
    Object.assign(state, { restarted: { startedAt: data.startedAt }, samples: [], letters: [], warnings: [] });
  }
  state.status = data;
  state.seen = at;
  state.samples = [...state.samples.filter((it) => at - it.at < RATE_SPAN), { at, balance: data.balance }];
  state.rates = rates(state.samples);
  return state;
}

/** Each column's readings a second, over the last seconds. */
function rates(samples) {
  const [first, last] = [samples[0], samples.at(-1)];
  const seconds = (last.at - first.at) / 1000;
  if (seconds < 0.5) return {};
  const columns = ["received", "delivered", "deadLettered", "shed"];
  return Object.fromEntries(columns.map((it) => [it, Math.max(0, last.balance[it] - first.balance[it]) / seconds]));
}

/** A restarted gateway knows none of the steps before: they stay. */
function steps(state, more, at) {
  const all = new Map([...state.steps, ...more].map((it) => [it.at, it]));
  const sorted = [...all.values()].sort((a, b) => Date.parse(a.at) - Date.parse(b.at));
  state.steps = sorted.filter((it) => at - Date.parse(it.at) < 2 * STEPS_MAX * STEP).slice(-STEPS_MAX);
  return state;
}

/** Rows have numbers: one that comes in the stream and in the list is one. */
function rows(state, kind, more) {
  const all = new Map([...state[kind], ...more].map((it) => [it.number, it]));
  state[kind] = [...all.values()].sort((a, b) => b.number - a.number).slice(0, ROWS_MAX);
  return state;
}
