// Helpers for the tests of locks.
import { Worker } from "node:worker_threads";
import { type SyncHandle, watchThread } from "@millrace/atomics-sync";
import type { SyncEnd } from "../fixtures/sync-ends.ts";
import { SIGNAL } from "../fixtures/sync-words.ts";
import { runThreads } from "../fixtures/threads.ts";
import { until } from "../support.ts";

export function sharedWords(count = 4): Int32Array {
  return new Int32Array(new SharedArrayBuffer(count * Int32Array.BYTES_PER_ELEMENT));
}

/** Runs one thread per form in the same role and resolves with what each of them found. */
export function runEnds<Result>(
  role: SyncEnd["role"],
  objects: readonly { readonly handle: SyncHandle }[],
  rounds: number,
  words: Int32Array,
  forms: readonly NonNullable<SyncEnd["form"]>[],
): Promise<Result[]> {
  const handles = objects.map(({ handle }) => handle);
  const ends = forms.map((form): SyncEnd => ({ role, handles, rounds, words, form }));
  return runThreads<Result>("sync-ends", ends);
}

/** Starts a thread in a role and resolves when it has come to where it signals. It is watched. */
export async function startEnd(
  role: SyncEnd["role"],
  objects: readonly { readonly handle: SyncHandle }[],
  words: Int32Array,
  rounds = 0,
): Promise<Worker> {
  const before = Atomics.load(words, SIGNAL);
  const workerData: SyncEnd = { role, handles: objects.map(({ handle }) => handle), rounds, words };
  const worker = new Worker(new URL("../fixtures/sync-ends.js", import.meta.url), { workerData });
  watchThread(worker);
  await until(() => Atomics.load(words, SIGNAL) > before, `a thread is where "${role}" signals`);
  return worker;
}
