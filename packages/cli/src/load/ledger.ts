/**
 * The calls that the handlers of the process under test have finished: one entry each, appended to
 * a file outside the journal before the handler returns. The kernel holds a write that has
 * returned, so the entry survives the process without a sync.
 *
 * An entry is 16 bytes: f64 id, u32 CRC of the payload as the handler got it, u32 attempt.
 */
import { closeSync, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";

const ENTRY_BYTES = 16;
const SUFFIX = ".ledger";

/** Appends entries; one per thread. */
export class LedgerWriter {
  readonly #fd: number;
  readonly #entry: Buffer = Buffer.alloc(ENTRY_BYTES);

  constructor(directory: string, name: string) {
    this.#fd = openSync(join(directory, name + SUFFIX), "a");
  }

  append(id: number, crc: number, attempt: number): void {
    this.#entry.writeDoubleLE(id, 0);
    this.#entry.writeUInt32LE(crc, 8);
    this.#entry.writeUInt32LE(attempt, 12);
    if (writeSync(this.#fd, this.#entry) !== ENTRY_BYTES) throw new Error("the ledger took only part of an entry");
  }

  close(): void {
    closeSync(this.#fd);
  }
}

export interface LedgerEntry {
  readonly id: number;
  readonly crc: number;
}

/** All entries of all threads and processes. */
export function readLedgers(directory: string): LedgerEntry[] {
  const entries: LedgerEntry[] = [];
  for (const name of readdirSync(directory).filter((file) => file.endsWith(SUFFIX))) {
    const bytes = readFileSync(join(directory, name));
    for (let offset = 0; offset + ENTRY_BYTES <= bytes.length; offset += ENTRY_BYTES) {
      entries.push({ id: bytes.readDoubleLE(offset), crc: bytes.readUInt32LE(offset + 8) });
    }
  }
  return entries;
}
