/** The payments that the queues carry: seven fields, and the terms of each. */

export interface Payment {
  readonly id: string;
  readonly account: string;
  readonly amount: number;
  readonly currency: string;
  readonly country: string;
  readonly reference: string;
  readonly at: number;
}

export type Priority = "high" | "normal" | "low";

/** Accounts of the ordinary load: payments of one account are ordered. */
export const ACCOUNTS = 10_000;
const CURRENCIES = ["EUR", "USD", "GBP", "CHF"] as const;
const COUNTRIES = ["DE", "US", "GB", "CH", "FR"] as const;
/** Neighbours in time belong to different accounts; coprime to every count of accounts here. */
const STRIDE = 7919;

/** The `n`th payment, from 0; its id tells `n`. */
export function paymentOf(n: number, accounts: number = ACCOUNTS): Payment {
  return {
    id: `p-${n}`,
    account: `A-${(n * STRIDE) % accounts}`,
    amount: (n % 100_000) / 100,
    currency: CURRENCIES[n % CURRENCIES.length] as string,
    country: COUNTRIES[n % COUNTRIES.length] as string,
    reference: `invoice ${n}`,
    at: 1_700_000_000_000 + n,
  };
}

export function numberOf({ id }: Payment): number {
  return Number(id.slice("p-".length));
}

/** One in ten is high, one in ten low. */
export function priorityOf(n: number): Priority {
  if (n % 10 === 0) return "high";
  return n % 10 === 5 ? "low" : "normal";
}
