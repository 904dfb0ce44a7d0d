// Building and breaking journals without threads, for the tests of format and recovery.
import { copyFileSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
// The parts below are internal to the package; only the journal's own tests reach for them.
import { RECORD_FIXED_BYTES } from "@millrace/journal/internal/files/format";
import { type JournalLimits, nextSegmentBytes } from "@millrace/journal/internal/files/limits";
import { LogWriter } from "@millrace/journal/internal/writer/log-writer";
import { NodeStorage } from "@millrace/journal/internal/storage/node-storage";
import { recover } from "@millrace/journal/internal/writer/recovery";
import { makeSpare } from "@millrace/journal/internal/files/spare";

export const limits: JournalLimits = {
  recordBytesMax: 8192,
  batchBytesMax: 16384,
  segmentBytesMax: 65536,
};

/** A frame as a producer writes it. */
export function frame(payload: string): Buffer {
  const content = RECORD_FIXED_BYTES + Buffer.byteLength(payload);
  const bytes = Buffer.alloc(Math.ceil(content / 8) * 8);
  bytes.writeUInt32LE(content - 4, 0);
  bytes[4] = 1;
  bytes.write(payload, RECORD_FIXED_BYTES);
  return bytes;
}

/** A log in a directory, opened, appended to and left as a crash would leave it. */
export class TestLog {
  readonly directory: string;
  readonly storage: NodeStorage;
  writer: LogWriter;

  constructor(directory: string) {
    this.directory = directory;
    this.storage = new NodeStorage(directory);
    this.writer = this.open();
  }

  open(): LogWriter {
    const recovered = recover(this.storage);
    const bytes = nextSegmentBytes(limits, 0, recovered.tail?.body.length ?? 0);
    makeSpare(this.storage, bytes);
    this.writer = new LogWriter(this.storage, limits, recovered, () => 1, bytes);
    return this.writer;
  }

  /** Appends a batch of records; a new segment is begun when it doesn't fit. */
  append(...payloads: string[]): void {
    const frames = payloads.map(frame);
    const bytes = frames.reduce((sum, each) => sum + each.length, 0);
    if (!this.writer.fits(bytes)) {
      const spareBytes = this.writer.nextSegmentBytes(bytes);
      makeSpare(this.storage, spareBytes);
      this.writer.roll(spareBytes);
    }
    this.writer.append(frames, bytes, payloads.length);
  }

  /** Names of the segments in order. */
  segments(): string[] {
    return readdirSync(this.directory)
      .filter((name) => name.startsWith("log-"))
      .toSorted();
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  copyTo(directory: string): TestLog {
    mkdirSync(directory, { recursive: true });
    for (const name of readdirSync(this.directory)) {
      if (statSync(this.path(name)).isFile()) copyFileSync(this.path(name), join(directory, name));
    }
    const copy = Object.create(TestLog.prototype) as TestLog;
    return Object.assign(copy, { directory, storage: new NodeStorage(directory) });
  }
}

/** Every payload in the log, read through the reader that production uses. */
export { readAll } from "./read-all.ts";
export { recover };
