/**
 * The lines of a source that are in the journal already, each with the CRC of its content.
 */
import { NodeStorage, RECORD_TYPE } from "@millrace/journal";
import { LogReader, RecordCursor } from "@millrace/journal/kernel";
import { publisherHeaders } from "@millrace/intake";

/** The headers that `ingest` stores with each record. */
export interface IngestHeaders {
  readonly source: string;
  readonly line: number;
  /** CRC-32 of the encoded value. */
  readonly crc: number;
}

export class StoredLines {
  #crcs: Uint32Array = new Uint32Array(1024);
  #isStored: Uint8Array = new Uint8Array(1024);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  has(line: number): boolean {
    return line < this.#isStored.length && this.#isStored[line] === 1;
  }

  crc(line: number): number {
    return this.#crcs[line] as number;
  }

  add(line: number, crc: number): void {
    if (line >= this.#isStored.length) this.#grow(line);
    if (this.#isStored[line] === 0) this.#count += 1;
    this.#isStored[line] = 1;
    this.#crcs[line] = crc;
  }

  #grow(line: number): void {
    const length = 2 ** Math.ceil(Math.log2(line + 1));
    const crcs = new Uint32Array(length);
    crcs.set(this.#crcs);
    const isStored = new Uint8Array(length);
    isStored.set(this.#isStored);
    this.#crcs = crcs;
    this.#isStored = isStored;
  }
}

/**
 * Reads the lines of `source` out of the journal in `directory`, up to `lastSequence`. The caller
 * holds the directory's lock.
 */
export function readStoredLines(directory: string, lastSequence: number, source: string): StoredLines {
  const stored = new StoredLines();
  const reader = new LogReader(new NodeStorage(directory));
  const cursor = new RecordCursor();
  reader.seek(1);
  while (reader.next(lastSequence)) {
    cursor.reset(reader.body, reader.batch.firstSequence);
    while (cursor.next()) {
      if (cursor.type !== RECORD_TYPE.data) continue;
      const headers = publisherHeaders(cursor.header()) as Partial<IngestHeaders> | undefined;
      if (headers?.source === source && headers.line !== undefined) stored.add(headers.line, headers.crc ?? 0);
    }
  }
  reader.close();
  return stored;
}
