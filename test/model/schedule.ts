/**
 * Schedules as text: a letter for the thread, a sign for anything but an ordinary step, and how
 * often: `a12b3a!kb~`.
 */
import { GO, IMMEDIATE, KILL, KINDS, TIMEOUT, TIMEOUT_ASYNC } from "./execute.ts";

const SIGNS: Record<number, string> = { [GO]: "", [IMMEDIATE]: "+", [TIMEOUT]: "~", [TIMEOUT_ASYNC]: "^", [KILL]: "!" };
const KIND_OF: Record<string, number> = Object.fromEntries(
  Object.entries(SIGNS).map(([kind, sign]) => [sign, Number(kind)]),
);

export function encodeSchedule(choices: readonly number[]): string {
  let text = "";
  for (let at = 0; at < choices.length;) {
    const choice = choices[at] as number;
    let times = 1;
    while (choices[at + times] === choice) times += 1;
    text += String.fromCharCode(97 + Math.floor(choice / KINDS)) + SIGNS[choice % KINDS] + (times > 1 ? times : "");
    at += times;
  }
  return text;
}

export function decodeSchedule(text: string): number[] {
  const choices: number[] = [];
  for (const [, letter, sign, times] of text.matchAll(/([a-h])([+~^!]?)(\d*)/g)) {
    const choice = ((letter as string).charCodeAt(0) - 97) * KINDS + (KIND_OF[sign as string] as number);
    for (let time = times === "" ? 1 : Number(times); time > 0; time -= 1) choices.push(choice);
  }
  return choices;
}
