/**
 * The package `multithreading`, which asks for `navigator` as soon as it is imported; Node 20 has
 * none.
 */
import { availableParallelism } from "node:os";

export async function importMultithreading(): Promise<typeof import("multithreading")> {
  if (!("navigator" in globalThis)) {
    Object.assign(globalThis, { navigator: { hardwareConcurrency: availableParallelism() } });
  }
  return await import("multithreading");
}
