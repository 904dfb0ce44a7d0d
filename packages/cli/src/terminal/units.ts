/** Numbers with units, as people type and read them. */
import { cliError } from "../errors.ts";

const DURATION_MS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000 };

/** `250ms`, `1.5s`, `2m` as milliseconds. Throws `ERR_CLI_USAGE`. */
export function parseDurationMs(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)(us|ms|s|m)$/.exec(text);
  if (match === null)
    throw cliError("ERR_CLI_USAGE", `${option} must be a duration such as 250ms or 1.5s, not "${text}"`);
  return Number(match[1]) * (DURATION_MS[match[2] as string] as number);
}

/** A whole number in a range, for commander. */
export function wholeNumber(option: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= min && value <= max) return value;
    throw cliError("ERR_CLI_USAGE", `${option} must be a whole number from ${min} to ${max}, not "${text}"`);
  };
}

/** A power of two from 2 to `max`, for commander. */
export function powerOfTwo(option: string, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (Number.isInteger(Math.log2(value)) && value >= 2 && value <= max) return value;
    throw cliError("ERR_CLI_USAGE", `${option} must be a power of two from 2 to ${max}, not "${text}"`);
  };
}

/** A number above zero, for commander. */
export function positiveNumber(option: string, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (value > 0 && value <= max) return value;
    throw cliError("ERR_CLI_USAGE", `${option} must be a number above 0 and at most ${max}, not "${text}"`);
  };
}

/** 1234567 as "1,234,567". */
export function grouped(value: number): string {
  return Math.round(value).toLocaleString("en-US");
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
