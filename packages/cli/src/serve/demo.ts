/** `millrace serve --demo`: a directory of its own, and traffic that is made up. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { seededRandom, workerUrl } from "@millrace/base";
import type { Millrace, MillraceOptions } from "@millrace/runtime";
import { temporaryDirectory } from "../terminal/temporary.ts";

const EVERY_MS = 100;
/** Orders each time at most; each has a mail, and every second one a parcel. */
const ORDERS_MAX = 20;
const ACCOUNTS = 40;
const TOWNS = ["Lund", "Porto", "Graz", "Gdynia", "Cork"];

/** Options of the demo's journal. */
export const demoJournal: Partial<NonNullable<MillraceOptions["journal"]>> = {
  // The system's directory for temporary files may be memory, and nobody needs these records.
  allowUnsafeStorage: true,
  retain: { forMs: 600_000, bytesMax: 64 * 2 ** 20 },
  handlers: {
    settle: { redact: ["card"], concurrencyMax: 32 },
    mail: { concurrencyMax: 16 },
    ship: { attemptsMax: 4, retryBaseMs: 500, failuresMax: 0 },
    report: { concurrencyMax: 1 },
  },
  schedules: { stock: { handler: "report", everyMs: 10_000, payload: { of: "stock" } } },
};

export function demoHandlers(): URL {
  return workerUrl("./demo-handlers", import.meta.url);
}

/** Emptied and removed by `remove`. */
export function demoDirectory(): { readonly path: string; remove(): void } {
  const path = temporaryDirectory("millrace-demo-");
  return { path: join(path, "data"), remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Publishes until the returned function is called, which resolves when nothing more comes. */
export function demoTraffic(mill: Millrace, seed: number): () => Promise<void> {
  const random = seededRandom(seed);
  const upTo = (most: number): number => random.below(most);
  const order = async (number: number): Promise<void> => {
    const account = `A-${upTo(ACCOUNTS)}`;
    const payload = { account, amount: 1 + upTo(1000), card: `4111 ${upTo(10_000)}` };
    await mill.publish.settle?.(payload, { key: account, idempotencyKey: `order-${number}`, whenFull: "reject" });
    const letter = { handler: "mail", payload: { number, account }, priority: "low" as const };
    const to = random.below(100) === 0 ? "nowhere" : (TOWNS[upTo(TOWNS.length)] as string);
    const parcel = number % 2 === 0 ? [{ handler: "ship", payload: { number, to }, delayMs: 200 }] : [];
    await mill.publishMany([letter, ...parcel], { whenFull: "reject" });
  };
  let number = 0;
  let underWay: Promise<unknown> = Promise.resolve();
  const timer = setInterval(() => {
    const orders = Array.from({ length: upTo(ORDERS_MAX) }, () => order((number += 1)));
    // A full intake is worth to be seen, and health tells of everything else that may be wrong.
    underWay = Promise.allSettled(orders);
  }, EVERY_MS);
  return async () => {
    clearInterval(timer);
    await underWay;
  };
}
