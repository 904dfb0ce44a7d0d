import { open } from "millrace";

/** Opens the intake. `pay` resolves when the payment is on disk. */
export async function openPayments() {
  const mill = await open({
    handlers: new URL("./handlers.mjs", import.meta.url),
    processors: 2,
    journal: {
      directory: "./data",
      // As long as clients may try again.
      dedupe: { forMs: 7 * 86_400_000 },
      handlers: { settle: { retryForMs: 3_600_000, holdsKeyWhenDead: false, redact: ["card"] } },
    },
  });
  const pay = (payment) => mill.publish.settle(payment, { key: payment.account, idempotencyKey: payment.id });
  return { mill, pay };
}
