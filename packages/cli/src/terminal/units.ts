/** Numbers with units, as people type and read them. */
import { cliError } from "../errors.ts";

const DURATION_MS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000 };

/** The longest time of Node's timers, 24 days; beyond that they fire at once. */
const DURATION_MS_MAX: number = 2 ** 31 - 1;

/** `250ms`, `1.5s`, `2m` as milliseconds. Throws `ERR_CLI_USAGE`. */
export function parseDurationMs(text: string, option: string, min = "0s"): number {
  const ms = durationMs(text);
  const minMs = durationMs(min) as number;
  if (ms !== undefined && ms >= minMs && ms <= DURATION_MS_MAX) return ms;
  const range = ms === undefined ? "such as 250ms or 1.5s" : `from ${min} to 35791m`;
  throw cliError("ERR_CLI_USAGE", `${option} must be a duration ${range}, not "${text}"`);
}

function durationMs(text: string): number | undefined {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(us|ms|s|m)$/.exec(text) ?? [];
  return unit === undefined ? undefined : Number(number) * (DURATION_MS[unit] as number);
}

/**
 * A time as ISO 8601 has it, with or without the time of day, in ms since 1970; undefined for
 * another text. `Date.parse` alone takes "record 12" for a day in December, and 30 February for
 * one in March.
 */
export function timeMs(text: string): number | undefined {
  const day = /^(\d{4}-\d\d-\d\d)(?:[T ]\d\d:\d\d\S*)?$/.exec(text)?.[1];
  const ms = day !== undefined && isDay(day) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms;
}

function isDay(day: string): boolean {
  const ms = Date.parse(`${day}T00:00:00Z`);
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(day);
}

/** In digits alone: `Number` takes an empty text for 0. */
const WHOLE = /^\d+$/;
const POSITIVE = /^(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;

/** A whole number in a range, for commander. */
export function wholeNumber(option: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (WHOLE.test(text) && value >= min && value <= max) return value;
    throw cliError("ERR_CLI_USAGE", `${option} must be a whole number from ${min} to ${max}, not "${text}"`);
  };
}

/** A power of two from 2 to `max`, for commander. */
export function powerOfTwo(option: string, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (WHOLE.test(text) && Number.isInteger(Math.log2(value)) && value >= 2 && value <= max) return value;
    throw cliError("ERR_CLI_USAGE", `${option} must be a power of two from 2 to ${max}, not "${text}"`);
  };
}

/** A number above zero, or from `min`, for commander. */
export function positiveNumber(option: string, max: number, min = 0): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (POSITIVE.test(text) && value > 0 && value >= min && value <= max) return value;
    const range = min === 0 ? `above 0 and at most ${max}` : `from ${min} to ${max}`;
    throw cliError("ERR_CLI_USAGE", `${option} must be a number ${range}, not "${text}"`);
  };
}

/** 1234567 as "1,234,567". */
export function grouped(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/** "1 letter", "1,234 letters"; `many` for words that take more than an s. */
export function amount(count: number, one: string, many = `${one}s`): string {
  return `${grouped(count)} ${count === 1 ? one : many}`;
}

/** Milliseconds with three significant digits and a unit. */
export function duration(ms: number): string {
  if (ms >= 10_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms >= 1) return `${ms.toPrecision(3)} ms`;
  return `${Math.round(ms * 1000)} µs`;
}

export function round(value: number, digits = 3): number {
  return Number(value.toFixed(digits));
}

/** Lines of label and value, the values in one column. */
export function table(rows: readonly (readonly [label: string, value: string])[]): string {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, value]) => `  ${label.padEnd(width)}  ${value}`).join("\n");
}
