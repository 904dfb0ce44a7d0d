/** Helpers for the tests of the drop-in. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Tinypool as Original } from "tinypool";
import * as assert from "uvu/assert";
import { type Options, Tinypool } from "@millrace/tinypool";
import { temporaryDirectory } from "../support.ts";

export function moduleOf(text: string, name = "tasks.mjs"): string {
  const file = join(temporaryDirectory(), name);
  writeFileSync(file, text);
  return file;
}

/** The task is code. */
export const filename: string = moduleOf(
  `
  module.exports = (code) => eval(code);
  module.exports.twice = (value) => value * 2;
  module.exports.wait = (word) => { Atomics.wait(word, 0, 0); };
`,
  "tasks.cjs",
);

export const RUNTIMES = ["worker_threads", "child_process"] as const;

export async function withPool(options: Options, body: (pool: Tinypool) => Promise<void>): Promise<void> {
  const pool = new Tinypool({ filename, minThreads: 1, maxThreads: 1, ...options });
  try {
    await body(pool);
  } finally {
    await pool.destroy();
  }
}

export async function outcomeOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    return await promise;
  } catch (thrown) {
    const { name, message } = thrown as Error;
    return `${name}: ${message}`;
  }
}

/** Asks tinypool and ours the same, and asserts that the answers are equal. Returns the answer. */
export async function both<T>(options: Options, ask: (pool: Tinypool) => Promise<T>): Promise<T> {
  const answers: T[] = [];
  for (const Pool of [Original as unknown as typeof Tinypool, Tinypool]) {
    const pool = new Pool({ filename, minThreads: 1, maxThreads: 1, ...options });
    try {
      answers.push(await ask(pool));
    } finally {
      await pool.destroy();
    }
  }
  assert.equal(answers[1], answers[0]);
  return answers[1] as T;
}
