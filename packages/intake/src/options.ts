/** The options of an intake: its own, and those of its journal, in one object. */
import { integer, oneOf, optional, type Rules } from "@millrace/base";
import type { JournalOptions } from "@millrace/journal";
import { resolveWithJournal } from "@millrace/journal/kernel";
import type { DeliveryOptions } from "./delivery.ts";

export interface IntakeOptions extends Omit<JournalOptions, "deliveryThread"> {
  /** Attempts before a record is dead; 1 to 1000, default 5. */
  readonly attemptsMax?: number;
  /** @deprecated The former name of `attemptsMax`. */
  readonly maxDeliveries?: number;
  /**
   * The longest wait before the second attempt; it doubles for each further one. Default 200 ms.
   */
  readonly retryBaseMs?: number;
  /** The longest wait before any attempt. Default 60 s. */
  readonly retryMaxMs?: number;
  /**
   * What stays in the journal: "unfinished" records (and dead ones), or "all". Default
   * "unfinished".
   */
  readonly retain?: "unfinished" | "all";
}

const ATTEMPTS_MAX = 5;

const rules = {
  attemptsMax: optional(integer(1, 1000, ATTEMPTS_MAX)),
  maxDeliveries: optional(integer(1, 1000, ATTEMPTS_MAX)),
  retryBaseMs: integer(0, 3_600_000, 200),
  retryMaxMs: integer(0, 86_400_000, 60_000),
  retain: oneOf(["unfinished", "all"], "unfinished"),
} satisfies Rules;

/** Throws `ERR_INVALID_OPTION`, also for the journal's options. */
export function intakeOptions(given: IntakeOptions): {
  readonly forDelivery: DeliveryOptions;
  readonly forJournal: Omit<JournalOptions, "deliveryThread">;
} {
  const own = resolveWithJournal("open({ journal })", rules, given);
  const forJournal = Object.fromEntries(Object.entries(given).filter(([name]) => !Object.hasOwn(rules, name)));
  const forDelivery = {
    attemptsMax: own.attemptsMax ?? own.maxDeliveries ?? ATTEMPTS_MAX,
    retryBaseMs: own.retryBaseMs,
    retryMaxMs: own.retryMaxMs,
    isDeleting: own.retain === "unfinished",
  };
  return { forDelivery, forJournal };
}
