// When the spool will be full, or empty, if it goes on like this.
//
// It is reckoned from the history: how many readings the spool holds at the end of each step of the last minute.

import { duration } from "./words.js";

/** Steps that are looked at. */
const STEPS = 13;

/** Nobody plans so far: a longer time is not said, in seconds. */
const FAR = 30 * 86_400;

/** `full in about 2 h`, `empty in about 40 s`; nothing where it does not move, or nobody knows yet. */
export function outlook({ status, steps }) {
  const limit = status.limits.find((it) => it.name === "spool_bytes");
  const { spooled } = status.balance;
  const held = steps.slice(-STEPS);
  // What was before it began to fill says nothing of how fast it fills.
  const [first, last] = [held[held.findLastIndex((it) => !it.spooled) + 1], held.at(-1)];
  if (!limit || !spooled || !first || first === last) return "";
  const perSecond = (last.spooled - first.spooled) / ((Date.parse(last.at) - Date.parse(first.at)) / 1000);
  const room = limit.max / limit.value * spooled - spooled;
  const [word, left] = perSecond > 0 ? ["full", room / perSecond] : ["empty", spooled / -perSecond];
  return left > 0 && left < FAR ? `${word} in about ${duration(Math.max(1, Math.round(left)))}` : "";
}
