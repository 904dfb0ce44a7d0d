/** Handlers of `millrace serve --demo`: a shop, in which some things fail. */
import { setTimeout as sleep } from "node:timers/promises";
import { NonRetryable } from "@millrace/intake";
import type { Context } from "@millrace/runtime";

interface Order {
  readonly account: string;
  readonly amount: number;
  readonly card: string;
}

/** Now and then an account is closed: no attempt will ever succeed. */
export function settle({ account, amount }: Order): void {
  work(0.2);
  if (amount % 97 === 0) throw new NonRetryable(`the account ${account} is closed`);
}

/** The mail server is often busy at first. */
export async function mail({ number }: { readonly number: number }, { record }: Context): Promise<void> {
  await sleep(5 + (number % 10));
  if (number % 8 === 0 && record?.attempt === 1) throw new Error("the mail server is busy");
}

/** An address that nobody knows stays so, and the parcel dies. */
export async function ship({ to }: { readonly to: string }): Promise<void> {
  await sleep(2);
  if (to === "nowhere") throw new RangeError(`no carrier goes to ${to}`);
}

/** Takes a while, one at a time, with pauses for what else its thread has to do. */
export async function report(): Promise<void> {
  for (let part = 0; part < 15; part += 1) {
    work(5);
    await sleep(5);
  }
}

function work(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}
