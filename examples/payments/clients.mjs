// Sends payments, each of them twice, until it is done or killed. Tells when half of them are on
// disk.
import { openPayments } from "./service.mjs";

const ACCOUNTS = ["A-1", "A-2", "A-3"];
const PAYMENTS = 20;

const { mill, pay } = await openPayments();

async function client(account) {
  for (let number = 1; number <= PAYMENTS; number += 1) {
    const payment = { id: `${account}/${number}`, account, amount: number === 7 ? 5000 : number };
    await pay(payment);
    await pay(payment);
    if (number === PAYMENTS / 2) process.send?.(account);
  }
}

await Promise.all(ACCOUNTS.map(client));
await mill.drain({ all: true });
process.send?.({
  dead: (await mill.dead.list()).map(({ payload }) => payload.id).toSorted((left, right) => left.localeCompare(right)),
});
await mill.close();
process.disconnect?.();
