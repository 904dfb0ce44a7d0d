import type { Context } from "millrace";

export interface Payment {
  readonly id: string;
  readonly account: string;
  readonly amount: number;
}

export function settle({ account, amount }: Payment, { record }: Context): void {
  console.log(`settled ${account} ${amount}, attempt ${record?.attempt}`);
}
