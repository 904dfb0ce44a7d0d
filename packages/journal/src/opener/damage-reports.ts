/** Damage that the keeper has found in old segments: kept, and reported to the program. */
import { journalError } from "../errors.ts";
import type { DamageReport } from "../keeper/scrub.ts";

export class DamageReports {
  readonly #onDamage: ((damage: DamageReport) => void) | undefined;
  readonly #found: DamageReport[] = [];

  /** Without `onDamage`, the process is warned. */
  constructor(onDamage: ((damage: DamageReport) => void) | undefined) {
    this.#onDamage = onDamage;
  }

  get found(): readonly DamageReport[] {
    return this.#found;
  }

  add(damage: DamageReport): void {
    this.#found.push(damage);
    if (this.#onDamage !== undefined) {
      this.#onDamage(damage);
      return;
    }
    const { file, offset, reason, firstSequence, lastSequence } = damage;
    process.emitWarning(
      journalError(
        "ERR_JOURNAL_DAMAGED",
        `${file} at offset ${offset}: ${reason}: acknowledged records ${firstSequence} to at most ${lastSequence} are lost`,
        { details: { ...damage } },
      ),
    );
  }
}
