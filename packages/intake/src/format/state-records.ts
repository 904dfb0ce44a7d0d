/**
 * The records that the intake writes about records. docs/intake-states.md says who writes each, and
 * what of it survives truncation.
 *
 *   ACK      pairs of u64 first place and u32 count: each range of places is finished
 *   RETRY    head, then u16 attempts, u16 zero, u32 reason, f64 due, f64 first failure, then the history
 *   DEAD     the same with the time of death for the due time; in version 1 only u64 origin and the
 *            last error, encoded
 *   REDRIVE  head, then u8 length and name of the handler (empty: its own), then origins, f64 each
 *   EXPIRE   head, then u8 kind (1 expired, 2 dropped by command), then origins, f64 each
 *   LEASE    head (origin 0), then f64 for each lane: places before it may have been handed out
 *   CONTROL  head (origin 0), then an object of the codec: see `Control`
 *
 * A head is u64 origin whose top byte is the version, 2. An origin has at most 53 bits, so version
 * 1 reads as 0 there. In the place of the origin REDRIVE and EXPIRE have the number of the last
 * death that was known when the command was given (0: any): a letter that died later isn't meant.
 *
 * A DEAD record of version 2 has a header: u32 bytes of its record, u32 CRC-32 of the order key (0
 * without), then the name of the handler. It is what filters ask for without reading the record.
 *
 * A history is what happened to the attempts so far: a list of the codec, the first three and the
 * last ten, each cut to 4 KiB; what lies between is counted. A RETRY record has the first and the
 * last alone, cut to 512 bytes.
 */
import { type MillraceError, readU64, writeU64 } from "@millrace/base";
import { crc32, decode, encode, encodeThrown } from "@millrace/codec";
import { RangeSet } from "./range-set.ts";
import type { DefinedSchedule } from "./schedule.ts";
import { newer, unknownVersion } from "./version.ts";

const VERSION = 2;
const VERSION_BYTE = 7;
const HEAD_BYTES = 8;
const RANGE_BYTES = 12;
const ORIGIN_BYTES = 8;
const LANES = 3;
/** Some 48 KiB: enough to say that everything in the task table is finished. */
const RANGES_MAX = 4096;
/** Origins in one record. */
export const ORIGINS_MAX = 4096;

/** Errors of a history: the first ones say how it began, the last ones how it ended. */
const FIRST_KEPT = 3;
const LAST_KEPT = 10;
/** Bytes of a history beside its errors, and of a failure beside its error; both generous. */
const HISTORY_BYTES = 128;
const FAILURE_BYTES = 96;
/** Least bytes with which an error is worth keeping, and most bytes that a RETRY record keeps. */
const ERROR_BYTES_MIN = 256;
const BRIEF_BYTES_MAX = 512;
/** Most bytes of one encoded error. */
const ERROR_BYTES_MAX = 4096;

/** Why an attempt failed, or a record is dead. */
export const REASON = {
  /** The handler threw. */
  error: 1,
  /** It took longer than its time limit. */
  timeout: 2,
  /** Its thread died under it, and it is known to be the cause or ran alone. */
  death: 3,
  /** It asked for another time; no attempt. */
  snooze: 4,
  /** It said that no attempt will ever succeed. */
  refused: 5,
  /** Attempts or time are used up. */
  exhausted: 6,
  /** It ended its process in quarantine. */
  quarantine: 7,
} as const;

export type ReasonName = keyof typeof REASON;

export function reasonName(reason: number): ReasonName {
  return (Object.keys(REASON) as ReasonName[]).find((name) => REASON[name] === reason) ?? "error";
}

/** Number of ranges that an ACK payload of `bytesMax` bytes takes. */
export function rangesIn(bytesMax: number): number {
  return Math.min(RANGES_MAX, Math.floor(bytesMax / RANGE_BYTES));
}

/** An ACK payload of up to `rangesMax` ranges of `finished`, beginning with the range `from`. */
export function encodeAck(finished: RangeSet, from: number, rangesMax: number): Buffer {
  const count = Math.min(finished.ranges - from, rangesMax);
  const payload = Buffer.alloc(count * RANGE_BYTES);
  for (let index = 0; index < count; index += 1) {
    const [first, last] = finished.range(from + index);
    writeU64(payload, first, index * RANGE_BYTES);
    payload.writeUInt32LE(last - first + 1, index * RANGE_BYTES + 8);
  }
  return payload;
}

/** Adds the ranges of an ACK payload to `finished`. */
export function decodeAck(payload: Buffer, finished: RangeSet): void {
  for (let offset = 0; offset + RANGE_BYTES <= payload.length; offset += RANGE_BYTES) {
    const first = readU64(payload, offset);
    finished.addRange(first, first + payload.readUInt32LE(offset + 8) - 1);
  }
}

function headOf(origin: number, more: number): Buffer {
  const bytes = Buffer.alloc(HEAD_BYTES + more);
  writeU64(bytes, origin, 0);
  bytes[VERSION_BYTE] = VERSION;
  return bytes;
}

function versionOf(payload: Buffer): number {
  return payload[VERSION_BYTE] ?? 0;
}

/** Throws `ERR_JOURNAL_VERSION` for a newer version, `ERR_RECORD_UNREADABLE` for what is none. */
function mustKnow(payload: Buffer, what: string): void {
  const version = versionOf(payload);
  if (version === VERSION) return;
  throw unknownVersion(`a ${what} record`, version, VERSION);
}

function originOf(payload: Buffer): number {
  const low = payload.readUInt32LE(0);
  const high = payload.readUInt32LE(4) & 0xffffff;
  return high * 2 ** 32 + low;
}

// ── what became of one record ───────────────────────────────────────────────────────────────────

/** One failed attempt. */
export interface Failure {
  /** From 1. */
  readonly attempt: number;
  readonly atMs: number;
  readonly reason: ReasonName;
  readonly error: unknown;
  /** The attempt's span, as a W3C `traceparent`; undefined where none was recorded. */
  readonly traceparent?: string;
}

/** The content of RETRY and DEAD records. */
export interface Fate {
  readonly origin: number;
  readonly attempts: number;
  readonly reason: number;
  /** RETRY: when it is due. DEAD: when it died. Ms since 1970. */
  readonly atMs: number;
  /** When the first attempt failed, ms since 1970. */
  readonly firstMs: number;
}

const FATE_BYTES = 24;

/** The payload of a RETRY or DEAD record; `history` is encoded. */
export function encodeFate(fate: Fate, history: Uint8Array): Buffer {
  const head = headOf(fate.origin, FATE_BYTES);
  head.writeUInt16LE(Math.min(fate.attempts, 0xffff), HEAD_BYTES);
  head.writeUInt32LE(fate.reason, HEAD_BYTES + 4);
  head.writeDoubleLE(fate.atMs, HEAD_BYTES + 8);
  head.writeDoubleLE(fate.firstMs, HEAD_BYTES + 16);
  return Buffer.concat([head, history]);
}

/**
 * Reads either version; a DEAD record of version 1 doesn't say when and after how many attempts.
 */
export function decodeFate(payload: Buffer): Fate {
  const version = versionOf(payload);
  if (version === 0) {
    return { origin: readU64(payload, 0), attempts: 0, reason: REASON.exhausted, atMs: 0, firstMs: 0 };
  }
  mustKnow(payload, "RETRY or DEAD");
  return {
    origin: originOf(payload),
    attempts: payload.readUInt16LE(HEAD_BYTES),
    reason: payload.readUInt32LE(HEAD_BYTES + 4),
    atMs: payload.readDoubleLE(HEAD_BYTES + 8),
    firstMs: payload.readDoubleLE(HEAD_BYTES + 16),
  };
}

/** The record that died, in the header of a DEAD record. */
export interface DeadHeader {
  /** Bytes of the record; 0 when an older build has written it. */
  readonly recordBytes: number;
  /** CRC-32 of the order key; 0 without. */
  readonly keyHash: number;
  /** The handler in which it died; empty when an older build has written it. */
  readonly handler: string;
}

const DEAD_HEADER_BYTES = 8;

/** The hash of an order key in DEAD records and in filters. */
export function deadKeyHash(key: Uint8Array): number {
  return crc32(key) || 1;
}

export function encodeDeadHeader({ recordBytes, keyHash, handler }: DeadHeader): Buffer {
  const fixed = Buffer.alloc(DEAD_HEADER_BYTES);
  fixed.writeUInt32LE(recordBytes, 0);
  fixed.writeUInt32LE(keyHash, 4);
  return Buffer.concat([fixed, Buffer.from(handler)]);
}

export function decodeDeadHeader(header: Buffer): DeadHeader {
  if (header.length < DEAD_HEADER_BYTES) return { recordBytes: 0, keyHash: 0, handler: "" };
  return {
    recordBytes: header.readUInt32LE(0),
    keyHash: header.readUInt32LE(4),
    handler: header.toString("utf8", DEAD_HEADER_BYTES),
  };
}

/** The encoded history of a RETRY or DEAD record; of version 1, the last error alone. */
export function historyBytes(payload: Buffer): Buffer {
  return payload.subarray(versionOf(payload) === 0 ? HEAD_BYTES : HEAD_BYTES + FATE_BYTES);
}

/** Failures that a record keeps, and how many lie between the first and the last ones. */
export interface History {
  readonly failures: readonly Failure[];
  readonly left: number;
}

export function decodeHistory(payload: Buffer): History {
  const bytes = historyBytes(payload);
  if (versionOf(payload) === 0) {
    return { failures: [{ attempt: 0, atMs: 0, reason: "error", error: decode(bytes) }], left: 0 };
  }
  const { failures, left } = storedHistory(bytes);
  return { failures: failures.map((each) => ({ ...each, error: decode(Buffer.from(each.error)) })), left };
}

/**
 * As it is stored: each error in bytes of its own, so that it can be cut and needn't be read to be
 * kept.
 */
interface StoredHistory {
  readonly failures: readonly (Omit<Failure, "error"> & { readonly error: Uint8Array })[];
  readonly left: number;
}

function storedHistory(bytes: Uint8Array): StoredHistory {
  return bytes.length === 0 ? { failures: [], left: 0 } : (decode(Buffer.from(bytes)) as StoredHistory);
}

/**
 * `history` with one failure more, encoded: at most 13 failures, each cut to its bytes, or fewer
 * where a record of `bytesMax` bytes takes no more.
 */
export function withFailure(history: Uint8Array, failure: Failure, bytesMax: number): Buffer {
  const known = storedHistory(history);
  const room = bytesMax - HISTORY_BYTES;
  const most = Math.max(1, Math.min(FIRST_KEPT + LAST_KEPT, Math.floor(room / (FAILURE_BYTES + ERROR_BYTES_MIN))));
  const errorBytes = Math.min(ERROR_BYTES_MAX, Math.floor(room / most) - FAILURE_BYTES);
  const failures = [...known.failures, { ...failure, error: encodeThrown(failure.error, errorBytes) }];
  let { left } = known;
  for (; failures.length > most; left += 1) failures.splice(Math.min(FIRST_KEPT, most - 1), 1);
  return Buffer.from(encode({ failures, left }));
}

/**
 * The first and the last failure of a history, cut short: what a RETRY record says, so that a
 * record that keeps failing doesn't fill the log with its errors.
 */
export function briefHistory(history: Uint8Array): Buffer {
  const { failures, left } = storedHistory(history);
  const kept = failures.length < 2 ? failures : [failures[0], failures.at(-1)];
  const brief = (kept as StoredHistory["failures"]).map((each) => {
    if (each.error.length <= BRIEF_BYTES_MAX) return each;
    return { ...each, error: encodeThrown(decode(Buffer.from(each.error)), BRIEF_BYTES_MAX) };
  });
  return Buffer.from(encode({ failures: brief, left: left + failures.length - kept.length }));
}

/** The span of the last failure; undefined where none was recorded. */
export function lastSpan(history: Uint8Array): string | undefined {
  return storedHistory(history).failures.at(-1)?.traceparent;
}

/** The last error of an encoded history. */
export function lastError(history: Uint8Array): unknown {
  const last = storedHistory(history).failures.at(-1);
  return last === undefined ? undefined : decode(Buffer.from(last.error));
}

// ── many records at once ────────────────────────────────────────────────────────────────────────

export interface Redrive {
  /** Empty: the handler that it was for. */
  readonly handler: string;
  readonly origins: readonly number[];
  /** Letters that died later aren't meant; 0: all are. */
  readonly lastDeath: number;
}

export function encodeRedrive({ handler, origins, lastDeath }: Redrive): Buffer {
  const name = Buffer.from(handler);
  return Buffer.concat([headOf(lastDeath, 0), Buffer.of(name.length), name, originsOf(origins)]);
}

export function decodeRedrive(payload: Buffer): Redrive {
  mustKnow(payload, "REDRIVE");
  const end = HEAD_BYTES + 1 + (payload[HEAD_BYTES] as number);
  const handler = payload.toString("utf8", HEAD_BYTES + 1, end);
  return { handler, origins: readOrigins(payload, end), lastDeath: originOf(payload) };
}

export const EXPIRED = 1;
export const DROPPED = 2;

export interface Expire {
  /** EXPIRED or DROPPED. */
  readonly kind: number;
  readonly origins: readonly number[];
  /** Letters that died later aren't meant; 0: all are. */
  readonly lastDeath: number;
}

export function encodeExpire({ kind, origins, lastDeath }: Expire): Buffer {
  return Buffer.concat([headOf(lastDeath, 0), Buffer.of(kind), originsOf(origins)]);
}

export function decodeExpire(payload: Buffer): Expire {
  mustKnow(payload, "EXPIRE");
  const kind = payload[HEAD_BYTES];
  if (kind !== EXPIRED && kind !== DROPPED) throw unknownKind("EXPIRE", kind);
  return { kind, origins: readOrigins(payload, HEAD_BYTES + 1), lastDeath: originOf(payload) };
}

function originsOf(origins: readonly number[]): Buffer {
  const bytes = Buffer.alloc(origins.length * ORIGIN_BYTES);
  for (const [index, origin] of origins.entries()) bytes.writeDoubleLE(origin, index * ORIGIN_BYTES);
  return bytes;
}

function readOrigins(payload: Buffer, start: number): number[] {
  const origins: number[] = [];
  for (let at = start; at + ORIGIN_BYTES <= payload.length; at += ORIGIN_BYTES) origins.push(payload.readDoubleLE(at));
  return origins;
}

/** For each lane: places before this one may have been handed out. */
export type Lease = readonly number[];

export function encodeLease(lease: Lease): Buffer {
  const bytes = headOf(0, LANES * ORIGIN_BYTES);
  for (let lane = 0; lane < LANES; lane += 1) bytes.writeDoubleLE(lease[lane] ?? 0, HEAD_BYTES + lane * ORIGIN_BYTES);
  return bytes;
}

export function decodeLease(payload: Buffer): Lease {
  mustKnow(payload, "LEASE");
  return Array.from({ length: LANES }, (_, lane) => payload.readDoubleLE(HEAD_BYTES + lane * ORIGIN_BYTES));
}

/** Rare events that must outlive a crash. */
export type Control =
  /** A process begins to deliver; the number of those before it that ended without `closed`. */
  | { readonly kind: "opened"; readonly uncleanEnds: number }
  /** Records that may have been in hand at such an end: pairs of origin and number of ends. */
  | { readonly kind: "suspected"; readonly suspects: Float64Array }
  /** All suspects are named; from here on records are handed out. */
  | { readonly kind: "begun" }
  /** It ended with nothing in hand. */
  | { readonly kind: "closed" }
  /** Of the suspects these are tried now, and no others; those that were cleared have survived. */
  | { readonly kind: "trying"; readonly origins: readonly number[]; readonly cleared: readonly number[] }
  | { readonly kind: "paused" | "resumed"; readonly handler: string }
  /** The sequences that a producer has stored are forgotten. */
  | { readonly kind: "producerDropped"; readonly producer: string }
  | ({ readonly kind: "scheduled" } & DefinedSchedule)
  | { readonly kind: "unscheduled"; readonly name: string };

const CONTROL_KINDS: Readonly<Record<Control["kind"], true>> = {
  opened: true,
  suspected: true,
  begun: true,
  closed: true,
  trying: true,
  paused: true,
  resumed: true,
  producerDropped: true,
  scheduled: true,
  unscheduled: true,
};

export function encodeControl(control: Control): Buffer {
  return Buffer.concat([headOf(0, 0), encode(control)]);
}

export function decodeControl(payload: Buffer): Control {
  mustKnow(payload, "CONTROL");
  const control = decode(payload, HEAD_BYTES) as Control;
  if (!Object.hasOwn(CONTROL_KINDS, control.kind)) throw unknownKind("CONTROL", control.kind);
  return control;
}

function unknownKind(what: string, kind: unknown): MillraceError {
  return newer(`a ${what} record is of the unknown kind ${String(kind)}`, { kind });
}

// ── for tools ───────────────────────────────────────────────────────────────────────────────────

export function deadSequence(payload: Buffer): number {
  return decodeFate(payload).origin;
}

/** The last error of a DEAD record. */
export function deadError(payload: Buffer): unknown {
  return decodeHistory(payload).failures.at(-1)?.error;
}

/** The ranges of an ACK record. */
export function ackRanges(payload: Buffer): RangeSet {
  const ranges = new RangeSet();
  decodeAck(payload, ranges);
  return ranges;
}
