// Threads that are terminated at random and replaced, and what their tests have in common.
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import * as assert from "uvu/assert";
import { watchThread } from "@millrace/atomics-sync";
import { ROUNDS, STOP, xorshift } from "../fixtures/sync-random.ts";
import type { StressEnd } from "../fixtures/sync-stress.ts";
import { until } from "../support.ts";

/** How long each test goes on. */
const SECONDS = Number(process.env["MILLRACE_STRESS_SECONDS"] ?? 5);
/** Repeats the choices of a run, though not its timing. */
export const SEED: number = Number(process.env["MILLRACE_SEED"] ?? Date.now() % 1_000_000);
const THREADS = 6;
/** A run with fewer shows nothing. */
const KILLS_MIN = 5;
/**
 * Enough for a thread that runs to come through what it waits for, on a machine that has a lot else
 * to do.
 */
export const END_MS = 60_000;

/** Threads that are replaced when they are terminated. */
export class Crew {
  readonly #end: Omit<StressEnd, "seed">;
  readonly #random: (bound: number) => number;
  readonly #workers: Worker[] = [];
  readonly #endsAt = performance.now() + SECONDS * 1000;
  #seed = SEED;
  kills = 0;
  failures: unknown[] = [];

  constructor(end: Omit<StressEnd, "seed">) {
    this.#end = end;
    this.#random = xorshift(SEED);
    for (let thread = 0; thread < THREADS; thread += 1) this.#start(thread);
  }

  #start(thread: number): void {
    this.#seed += 1;
    const workerData: StressEnd = { ...this.#end, seed: this.#seed };
    const worker = new Worker(new URL("../fixtures/sync-stress.js", import.meta.url), { workerData });
    watchThread(worker);
    worker.on("error", (error) => this.failures.push(error));
    this.#workers[thread] = worker;
  }

  /** Whether the run has been long enough, and had its deaths. */
  get isOver(): boolean {
    return performance.now() >= this.#endsAt && this.kills >= KILLS_MIN;
  }

  /** Once the threads have done so many more rounds. */
  async workOn(rounds: number): Promise<void> {
    const { words } = this.#end;
    const enough = (words[ROUNDS] as number) + rounds;
    await until(() => Atomics.load(words, ROUNDS) >= enough, "the threads work", END_MS);
  }

  async killOne(): Promise<void> {
    const thread = this.#random(THREADS);
    await (this.#workers[thread] as Worker).terminate();
    this.kills += 1;
    this.#start(thread);
  }

  /** Tells all to stop; fails when one of them doesn't: it sleeps for ever. */
  async stop(): Promise<void> {
    const ends = this.#workers.map((worker) => once(worker, "exit"));
    Atomics.store(this.#end.words, STOP, 1);
    const timer = setTimeout(() => {
      for (const worker of this.#workers) void worker.terminate();
      this.failures.push(new Error(`a thread sleeps for ever; seed ${SEED}`));
    }, END_MS);
    await Promise.all(ends);
    clearTimeout(timer);
    assert.equal(this.failures, []);
  }
}
