// How numbers, times and texts are written.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const calendar = new Intl.DateTimeFormat("en-CA", { dateStyle: "short" });

export const number = (value) => whole.format(value);

/** Readings a second. */
export function rate(value) {
  return `${value < 10 ? short.format(value) : whole.format(value)}/s`;
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; value >= 1024 && at < units.length - 1; at += 1) value /= 1024;
  return `${value < 10 && at > 0 ? short.format(value) : whole.format(value)} ${units[at]}`;
}

/** A time in its two largest units. */
export function duration(seconds) {
  if (seconds < 0.001) return "0 s";
  if (seconds < 1) return `${short.format(seconds * 1000)} ms`;
  if (seconds < 10) return `${short.format(seconds)} s`;
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  let left = Math.floor(seconds);
  const words = [];
  for (const [size, unit] of parts) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0) words.push(`${count} ${unit}`);
    else if (words.length > 0) break;
  }
  return words.slice(0, 2).join(" ");
}

/** How long ago something was, by the gateway's clock. */
export function ago(text, now) {
  if (!text) return "none yet";
  const seconds = (now - Date.parse(text)) / 1000;
  return seconds < 1 ? "now" : `${duration(Math.floor(seconds))} ago`;
}

/** The time of day here, with the date unless that is today's. */
export function time(text) {
  const at = new Date(text);
  const day = calendar.format(at);
  return day === calendar.format(new Date()) ? clock.format(at) : `${day} ${clock.format(at)}`;
}

export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

// What a terminal obeys, or what makes a text look like another one.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu;

const escaped = (character) => `\\u{${character.codePointAt(0).toString(16)}}`;

/** A text from outside with what cannot be seen in it made visible. */
export const visible = (text) => String(text).replace(UNSEEN, escaped);

/** The same of a text of several lines. */
export const visibleLines = (text) =>
  String(text).replace(UNSEEN, (it) => (it === "\n" || it === "\t" ? it : escaped(it)));

/** A text as one word of a shell, whatever is in it. */
export function quoted(text) {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  if (text.search(UNSEEN) < 0) return `'${text.replaceAll("'", "'\\''")}'`;
  const inside = text.replace(/[\\']/g, "\\$&").replace(UNSEEN, (it) => {
    const code = it.codePointAt(0);
    // Bytes of a shell's own: \u would be read by its locale.
    return code < 0x80 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
  });
  return `$'${inside}'`;
}
