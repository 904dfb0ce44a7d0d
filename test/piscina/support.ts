/** Helpers for the tests of the drop-in. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Piscina as Original } from "piscina";
import * as assert from "uvu/assert";
import { Piscina } from "@millrace/piscina";
import { temporaryDirectory } from "../support.ts";

export type PoolOptions = NonNullable<ConstructorParameters<typeof Piscina>[0]>;

/** A module of a temporary directory. */
export function moduleOf(text: string, name = "tasks.cjs"): string {
  const file = join(temporaryDirectory(), name);
  writeFileSync(file, text);
  return file;
}

/** The task is code. `wait` blocks until the word isn't 0 any more, and makes it -1. */
export const filename: string = moduleOf(`
  module.exports = (code) => eval(code);
  module.exports.wait = (word) => { Atomics.wait(word, 0, 0); Atomics.store(word, 0, -1); };
  module.exports.twice = (value) => value * 2;
`);

export const newWord = (): Int32Array => new Int32Array(new SharedArrayBuffer(4));

export function wake(word: Int32Array): void {
  Atomics.store(word, 0, 1);
  Atomics.notify(word, 0);
}

export async function withPool(options: PoolOptions, body: (pool: Piscina) => Promise<void>): Promise<void> {
  const pool = new Piscina({ filename, maxThreads: 1, ...options });
  try {
    await body(pool);
  } finally {
    await pool.destroy();
  }
}

export interface Outcome {
  readonly value?: unknown;
  readonly name?: string;
  readonly message?: string;
  readonly cause?: unknown;
}

export async function outcomeOf(promise: Promise<unknown>): Promise<Outcome> {
  try {
    return { value: await promise };
  } catch (thrown) {
    const { name, message, cause } = thrown as Error;
    return { name, message, cause };
  }
}

/** Asks piscina and ours the same, and asserts that the answers are equal. Returns the answer. */
export async function both<T>(options: PoolOptions, ask: (pool: Piscina) => Promise<T>): Promise<T> {
  const answers: T[] = [];
  for (const Pool of [Original as unknown as typeof Piscina, Piscina]) {
    const pool = new Pool({ filename, maxThreads: 1, ...options });
    try {
      answers.push(await ask(pool));
    } finally {
      // piscina 5.3.2 runs a task that it has rejected for want of a queue. If that one answers
      // while the pool is destroyed, the pool emits an error, which would end the process.
      if (Pool !== Piscina) pool.on("error", () => {});
      await pool.destroy();
    }
  }
  assert.equal(answers[1], answers[0]);
  return answers[1] as T;
}
