/** Numbers and times for people. An absent value is a dash. */

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const NONE = "–";

export function count(value) {
  return value === undefined || value === null ? NONE : whole.format(value);
}

/** "1 letter", "1,234 letters"; `many` for words that take more than an s. */
export function amount(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Per second. */
export function rate(value) {
  if (value === undefined || value === null) return NONE;
  return value > 0 && value < 10 ? value.toFixed(1) : whole.format(value);
}

export function milliseconds(value) {
  if (value === undefined || value === null) return NONE;
  if (value === 0) return "0";
  if (value < 1) return `${Math.max(1, Math.round(value * 1000))} µs`;
  if (value < 1000) return `${value.toPrecision(3)} ms`;
  return duration(value);
}

/** Of some seconds to many days. */
export function duration(ms) {
  if (ms === undefined || ms === null) return NONE;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

export function bytes(value) {
  if (value === undefined || value === null) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let left = value;
  while (left >= 1024 && unit < units.length - 1) {
    left /= 1024;
    unit += 1;
  }
  return `${unit === 0 || left >= 100 ? whole.format(left) : left.toPrecision(3)} ${units[unit]}`;
}

export function share(value) {
  return `${Math.round(value * 100)} %`;
}

const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });

/** ISO 8601 or ms since 1970, in the time zone of whoever looks. */
export function time(value) {
  return value === undefined || value === null ? NONE : clock.format(new Date(value));
}
