// Bugs that logs have had, as edits of the journal's compiled modules. Each must be noticed.
import { cpSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Engine, loadEngine, PACKAGE_DIST } from "./engine.ts";

export interface SeededBug {
  readonly name: string;
  readonly file: string;
  /** Occurs exactly once in the file. */
  readonly from: string;
  readonly to: string;
  /** The layer that notices it most surely and soonest; most bugs show in "damage". */
  readonly layer?: Layer;
}

export type Layer = "model" | "damage" | "crash states" | "seam faults" | "lookups" | "regressions";

const SYNC_OF_A_BATCH =
  "this.#sync(file);\n        this.#chain = chain;\n        this.#offset += batchBytes(bodyBytes);";
const MARKS_OF_AN_OPENING = "writeMarks(storage, marks);\n    writeMarks(storage, next);";
const OFFSET = "this.#chain = chain; this.#offset += batchBytes(bodyBytes);";

export const SEEDED_BUGS: readonly SeededBug[] = [
  {
    name: "a record is acknowledged before its sync",
    file: "writer/writer.js",
    from: "const firstSequence = this.#log.nextSequence;",
    to: `const firstSequence = this.#log.nextSequence;
         this.#rings.acknowledge(firstSequence);`,
  },
  {
    name: "every seventh batch is not synced",
    file: "writer/log-writer.js",
    from: SYNC_OF_A_BATCH,
    to: `LogWriter.batches = (LogWriter.batches ?? 0) + 1; if (LogWriter.batches % 7 !== 0) this.#sync(file); ${OFFSET}`,
    layer: "model",
  },
  {
    name: "the count of a short write is ignored",
    file: "storage/storage.js",
    from: "if (whole === rest.length)\n            return;",
    to: "return;",
    layer: "seam faults",
  },
  {
    name: "a failed sync is tried again",
    file: "writer/log-writer.js",
    from: SYNC_OF_A_BATCH,
    to: `try { this.#sync(file); } catch { this.#sync(file); } ${OFFSET}`,
    layer: "seam faults",
  },
  {
    name: "a failed write is taken for a full disk and left out",
    file: "writer/log-writer.js",
    from: "writeFully(file, [this.#header, ...spans, padding(bodyBytes)], this.#offset);",
    to: "try { writeFully(file, [this.#header, ...spans, padding(bodyBytes)], this.#offset); } catch {}",
    layer: "seam faults",
  },
  {
    name: "the ring is released before the sync",
    file: "writer/rings.js",
    from: "frames += ring.frames;\n        }\n        // The next batch",
    to: "frames += ring.frames; ring.releaser.release(taker.end);\n        }\n        // The next batch",
  },
  {
    name: "receipts are written in another order than the records",
    file: "writer/rings.js",
    from: "const start = (this.#firstRing + count - 1) % count;",
    to: "const start = this.#firstRing % count;",
  },
  {
    name: "the first bad batch is the end, whatever follows",
    file: "read/scan.js",
    from: "if (later === undefined)\n        return false;",
    to: "return false;",
  },
  {
    name: "a bad batch ends a sealed segment",
    file: "read/scan.js",
    from: "throw damagedBatch(segment, reader, named.lastSequence);",
    to: "break;",
  },
  {
    name: "the link to the segment before is not checked",
    file: "read/scan.js",
    from: "if (end.endOffset !== named.endOffset || end.lastSequence !== named.lastSequence || end.chain !== named.chain) {",
    to: "if (false) {",
  },
  {
    name: "a missing beginning goes unnoticed",
    file: "read/found-segments.js",
    from: "if (header.segment !== marks.firstSegment) {",
    to: "if (false) {",
  },
  {
    name: "a newest segment with a bad header is unfinished, whatever it holds",
    file: "read/found-segments.js",
    from: "before === undefined || holdsBatches(storage, name, before.header)",
    to: "before === undefined",
  },
  {
    name: "a batch header is valid wherever it lies",
    file: "files/format.js",
    from: "writeU64(this.#place, offset, 24);",
    to: "",
  },
  {
    name: "the body's checksum is not looked at",
    file: "read/segment-reader.js",
    from: "if (crc32(body) !== batch.bodyCrc)",
    to: "if (false)",
  },
  {
    name: "a torn batch is judged by its records",
    file: "read/segment-reader.js",
    from: "if (crc32(body) !== batch.bodyCrc)",
    to: "if (crc32(body) !== batch.bodyCrc && !isWellFormed(body, batch.count))",
  },
  {
    name: "a recovered log is appended to",
    file: "writer/log-writer.js",
    from: "this.#begin(log.nextSegment, log.previous, log.tail, spareBytes);",
    to: `if (log.previous.segment === 0) this.#begin(log.nextSegment, log.previous, log.tail, spareBytes);
         else {
           this.#segment = log.previous.segment;
           this.#file = storage.open(segmentName(this.#segment), "write");
           const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
           this.#file.read(bytes, bytes.length, 0);
           this.#seal = new BatchSeal(this.#logId, this.#segment, bytes.subarray(48, 56));
           this.#segmentBytes = bytes.readUInt32LE(64) + 65536;
           this.#offset = log.previous.endOffset + (log.tail === undefined ? 0 : batchBytes(log.tail.body.length));
           this.#chain = log.tail?.header.nextChain ?? log.previous.chain;
         }`,
  },
  {
    name: "the last batch is kept without being written again",
    file: "read/scan.js",
    from: "tail: kept,\n            tailStart,",
    to: "tail: undefined,",
  },
  {
    name: "a clean end is taken for granted",
    file: "read/scan.js",
    from: "tail: kept,\n            tailStart,",
    to: "tail: kept, tailStart: hasCleanEnd ? undefined : tailStart,",
  },
  {
    name: "the directory is not synced after a segment got its name",
    file: "writer/log-writer.js",
    from: "takenError(name) : thrown;\n        }\n        this.#storage.syncDirectory();",
    to: "takenError(name) : thrown; }",
    layer: "model",
  },
  {
    name: "a segment gets its name before its header is synced",
    file: "writer/log-writer.js",
    from: "this.#sync(file);\n        try {\n            renameNew(",
    to: "try {\n            renameNew(",
    layer: "model",
  },
  {
    name: "a recovered segment is trusted without the batch that it repeats",
    file: "read/scan.js",
    from: "if (tail === undefined && segment.header.kind === KIND.recovered)",
    to: "if (false)",
  },
  {
    name: "records above the durable sequence are delivered",
    file: "read/log-reader.js",
    from: "if (this.#successor === undefined) {",
    to: "if (this.#successor === undefined && reader.position.nextSequence > durableSequence) return reader.next(); if (this.#successor === undefined) {",
    layer: "model",
  },
  {
    name: "the witness in a batch names too little",
    file: "writer/log-writer.js",
    from: "durableSequence: batch.firstSequence - 1,",
    to: "durableSequence: 0,",
  },
  {
    name: "the seal knows neither the segment nor its salt",
    file: "files/format.js",
    from: "writeU64(this.#place, segment, 16);\n        this.salt = salt;",
    to: "this.salt = Buffer.alloc(8);",
  },
  {
    name: "marks name more than what is durable",
    file: "keeper/keeper.js",
    from: 'return this.#start.isSynced ? this.#stats.get("durableSequence") : 0;',
    to: 'return this.#stats.get("durableSequence") + 3;',
  },
  {
    name: "what marks know to be durable is not asked for",
    file: "read/scan.js",
    from: "if (durable < nextSequence)\n        return;",
    to: "return;",
  },
  {
    name: "marks are not synced",
    file: "files/marks.js",
    from: "(marks.generation % PAGES) * ALIGNMENT);\n        file.sync();",
    to: "(marks.generation % PAGES) * ALIGNMENT);",
  },
  {
    name: "segments are deleted on the word of one page of marks",
    file: "keeper/keeper.js",
    from: "this.#store(kept);\n        this.#store(kept);",
    to: "this.#store(kept);",
  },
  {
    name: "an opening deletes segments on the word of marks in the page cache",
    file: "writer/recovery.js",
    from: MARKS_OF_AN_OPENING,
    to: "",
    layer: "crash states",
  },
  {
    name: "an opening decides on names that may only be in the page cache",
    file: "writer/recovery.js",
    from: "file.close();\n    }\n    storage.syncDirectory();",
    to: "file.close();\n    }",
    layer: "regressions",
  },
  {
    name: "an opening writes on the other page of marks while one may only be in the page cache",
    file: "writer/recovery.js",
    from: MARKS_OF_AN_OPENING,
    to: "writeMarks(storage, next);\n    writeMarks(storage, { ...next, generation: next.generation + 1 });",
    layer: "regressions",
  },
  {
    name: "a keeper writes on the other page of marks while one may only be in the page cache",
    file: "keeper/keeper.js",
    from: "this.#areMarksSure = found === undefined || !found.logId.equals(logId);",
    to: "this.#areMarksSure = true;",
    layer: "regressions",
  },
  {
    name: "a keeper writes on the other checkpoint while one may only be in the page cache",
    file: "keeper/checkpoint-writer.js",
    from: "if (newest !== undefined && newest.generation !== this.#sureGeneration)",
    to: "if (false)",
    layer: "regressions",
  },
  {
    name: "segments are deleted by what is durable, not by what was asked",
    file: "keeper/keeper.js",
    from: "const bound = Math.min(before, ...checkpoints.map(({ from }) => from));",
    to: 'const bound = this.#stats.get("durableSequence");',
  },
  {
    name: "segments are deleted that a checkpoint needs",
    file: "keeper/keeper.js",
    from: "const bound = Math.min(before, ...checkpoints.map(({ from }) => from));",
    to: "const bound = before;",
    layer: "crash states",
  },
  {
    name: "a checkpoint is not synced",
    file: "files/checkpoint.js",
    from: "file.sync();",
    to: "",
    layer: "crash states",
  },
  {
    name: "a checkpoint overwrites the one before",
    file: "files/checkpoint.js",
    from: "const name = NAMES[checkpoint.generation % NAMES.length];",
    to: "const name = NAMES[0];",
    layer: "crash states",
  },
  {
    name: "a checkpoint proves nothing",
    file: "read/witnesses.js",
    from: "if (from - 1 <= durable)\n            continue;",
    to: "continue;",
    layer: "regressions",
  },
  {
    name: "a checkpoint is needed by nobody",
    file: "read/witnesses.js",
    from: "return (witnesses.marks?.checkpoint ?? 0) > 0 &&",
    to: "return false &&",
    layer: "regressions",
  },
  {
    name: "a snapshot that is torn counts as a checkpoint",
    file: "read/witnesses.js",
    from: "page.from >= firstSequence && isWhole(storage, page)",
    to: "page.from >= firstSequence",
    layer: "regressions",
  },
  {
    name: "marks without a segment are forgotten",
    file: "read/found-segments.js",
    from: "if (marks === undefined && checkpoints.length === 0)\n        return;",
    to: "return;",
    layer: "regressions",
  },
  {
    name: "marks of another log give up this one",
    file: "read/found-segments.js",
    from: "for (const name of givenUp) {",
    to: "for (const name of []) {",
    layer: "regressions",
  },
  {
    name: "a checkpoint of another log is overlooked",
    file: "read/witnesses.js",
    from: "if (foreign !== undefined)",
    to: "if (false)",
    layer: "regressions",
  },
  {
    name: "a page of a newer format is taken for a torn one",
    file: "files/format.js",
    from: "if (readerVersion > FORMAT_VERSION) {",
    to: "if (readerVersion > FORMAT_VERSION) return false; if (false) {",
    layer: "regressions",
  },
  {
    name: "the last marks are left out",
    file: "keeper/keeper.js",
    from: "if (durableSequence !== this.#marks.durableSequence)",
    to: "if (false)",
    layer: "regressions",
  },
  {
    name: "marks don't name the checkpoint",
    file: "keeper/keeper.js",
    from: "this.#store({ checkpoint: this.#checkpoints.sureGeneration });",
    to: "",
    layer: "regressions",
  },
  {
    name: "the first checkpoint stands alone",
    file: "keeper/checkpoint-writer.js",
    from: "if (newest === undefined)\n            this.#store(",
    to: "if (false)\n            this.#store(",
    layer: "regressions",
  },
  {
    name: "the log is given up on the word of one checkpoint",
    file: "keeper/checkpoint-writer.js",
    from: "if (checkpoints.length > 1)\n            return checkpoints;",
    to: "return checkpoints;",
    layer: "regressions",
  },
  {
    name: "an opening leaves a log without marks",
    file: "writer/opening.js",
    from: "if (recovered.marks === undefined)",
    to: "if (false)",
    layer: "regressions",
  },
  {
    name: "what a dead process has prepared stays",
    file: "writer/recovery.js",
    from: "if (fileBytes > used)\n            cut(",
    to: "if (false)\n            cut(",
    layer: "regressions",
  },
  {
    name: "an unused end is cut with what is torn in front of it",
    file: "writer/recovery.js",
    from: "const behind = isTornUnknown ? ALIGNMENT : torn.length;",
    to: "const behind = 0;",
    layer: "regressions",
  },
  {
    name: "an unused end is cut with the last batch",
    file: "writer/recovery.js",
    from: "if (fileBytes > used)\n            cut(storage, name, used);",
    to: "if (fileBytes > used)\n            cut(storage, name, used - ALIGNMENT);",
    layer: "crash states",
  },
  {
    name: "a copy in quarantine is worth a refused opening",
    file: "writer/recovery.js",
    from: "if (!isDiskFull(thrown))\n            throw thrown;\n        cutCopy(storage, name);",
    to: "throw thrown;",
    layer: "regressions",
  },
  {
    name: "every temporary file is ours",
    file: "writer/recovery.js",
    from: "return isUnfinishedSpare(name) ||",
    to: 'return name.endsWith(".tmp") ||',
    layer: "regressions",
  },
  {
    name: "an opening doesn't use the room that it has cut",
    file: "writer/opening.js",
    from: "const { freeBytes } = spaceOf(storage);",
    to: "return undefined; const { freeBytes } = spaceOf(storage);",
    layer: "regressions",
  },
  {
    name: "a spare is as large as its name says",
    file: "files/spare.js",
    from: "return withFile(storage, name, (file) => file.size());",
    to: "return Number(/-(\\d+)/.exec(name)[1]);",
    layer: "regressions",
  },
  {
    name: "spares take the last of a disk",
    file: "files/zero-fill.js",
    from: "if (freeBytes - bytes < margin)",
    to: "if (freeBytes < bytes)",
    layer: "regressions",
  },
  {
    name: "spares have one size",
    file: "keeper/spare-maker.js",
    from: "if (!isDiskFull(thrown) || !this.#hasReserve || this.#spareBytes <= least)",
    to: "if (true)",
    layer: "regressions",
  },
  {
    name: "segments grow with each opening",
    file: "writer/opening.js",
    from: "if (ready.bytes > wanted)\n            shortenSpare(storage, ready, wanted);\n        return wanted;",
    to: "return ready.bytes;",
    layer: "regressions",
  },
  {
    name: "a segment takes the place of another",
    file: "writer/log-writer.js",
    from: "renameNew(this.#storage, temporary, name);",
    to: "this.#storage.rename(temporary, name);",
    layer: "regressions",
  },
  {
    name: "a batch that found no room leaves its checksum in the chain",
    file: "writer/log-writer.js",
    from: "const chain = this.#sealBatch(this.#seal, this.#offset, batch);",
    to: "const chain = this.#chain = this.#sealBatch(this.#seal, this.#offset, batch);",
    layer: "regressions",
  },
  {
    name: "a batch that is there although its write failed is called refused",
    file: "writer/log-writer.js",
    from: "this.#isBroken = !isDiskFull(thrown) || this.#isWritten(file, bodyBytes, bodyCrc);",
    to: "this.#isBroken = !isDiskFull(thrown);",
    layer: "regressions",
  },
  {
    name: "a page that had to go from the cache is still looked for in its old place",
    file: "read/page-cache.js",
    from: "owner.words[this.#pages[frame] * WORDS + FRAME] = 0;",
    to: "",
    layer: "lookups",
  },
  {
    name: "a page that comes into the cache isn't checked",
    file: "read/page-cache.js",
    from: "isSound = read === bytes && table.matches(page, memory);",
    to: "isSound = read === bytes;",
    layer: "lookups",
  },
  {
    name: "a segment that was given up stays open",
    file: "read/lookup.js",
    from: "this.#tools.files.closeAll();\n        for",
    to: "for",
    layer: "lookups",
  },
  {
    name: "a segment that the writer hasn't told of is taken for damage",
    file: "read/lookup.js",
    from: "return ids.length !== this.#ids.length || ids.some((id, at) => id !== this.#ids[at]);",
    to: "return !ids.includes(thrown.segment);",
    layer: "lookups",
  },
  {
    name: "a key is looked for beyond a segment that is lost",
    file: "read/lookup.js",
    from: "if (segment?.header.segment !== id)\n                throw this.#lost(id, last);",
    to: "if (segment === undefined) break;",
    layer: "lookups",
  },
  {
    name: "a segment that was given up is taken for a lost one",
    file: "read/lookup.js",
    from: "return firstSegmentIn(this.#tools.storage) > segment;",
    to: "return firstSegmentIn(this.#tools.storage) < 0;",
    layer: "lookups",
  },
  {
    name: "a frame on both sides of two pieces of a batch is walked with the bytes of one",
    file: "read/batch-pages.js",
    from: "memory.copyWithin(0, PIECE_BYTES, PIECE_BYTES + CARRY_BYTES);",
    to: "",
    layer: "lookups",
  },
];

/**
 * Copies the journal's modules into `directory`, with the bug in them. Throws unless the edit fits
 * exactly once.
 */
export async function plant(bug: SeededBug, directory: string): Promise<Engine> {
  const dist = join(directory, "dist");
  cpSync(PACKAGE_DIST, dist, { recursive: true });
  // So that the copy finds the other packages, and the same ones as everybody else.
  const modules = join(directory, "node_modules");
  rmSync(modules, { force: true });
  symlinkSync(join(dirname(join(PACKAGE_DIST, ".")), "node_modules"), modules);
  const path = join(dist, bug.file);
  const source = readFileSync(path, "utf8");
  const parts = source.split(bug.from);
  if (parts.length !== 2) throw new Error(`${bug.name}: its place in ${bug.file} occurs ${parts.length - 1} times`);
  writeFileSync(path, parts.join(bug.to));
  return loadEngine(`${dist}/`);
}
