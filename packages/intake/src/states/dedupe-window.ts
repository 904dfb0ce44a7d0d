/**
 * Idempotency keys that were used lately, and by which record.
 *
 * Entries stand in a ring in the order of their records, because the oldest leaves first: when
 * there are more than `keysMax`, or when it is older than `forMs`. Age is measured against the
 * newest record, not against a clock, so that reading the log again decides every record as it was
 * decided at first. Where somebody has set the wall clock, records say the time of a clock that
 * nobody sets, so that a jump of a day doesn't make all keys a day older. A record that is earlier
 * than one before it (a process has begun by a clock that was set back) is as old as that one. A
 * hash table of ring positions finds an entry; it is half empty at least.
 *
 * A key is kept as 96 bits of hash over handler and key: among 10^7 keys two are alike with a
 * probability below 10^-14. An entry takes 32 bytes, and 8 to 16 in the table.
 */
import { invariant } from "@millrace/base";
import type { Idempotency } from "../format/record-header.ts";

export interface WindowLimits {
  readonly keysMax: number;
  readonly forMs: number;
}

export const WINDOW_DEFAULTS: WindowLimits = { keysMax: 1_000_000, forMs: 86_400_000 };

/** The verdict about a record with a key. */
export type Verdict =
  | { readonly kind: "first" }
  | { readonly kind: "duplicate"; readonly first: number }
  /** The key was used for another payload. */
  | { readonly kind: "mismatch"; readonly first: number }
  /** It was published together with such a record. */
  | { readonly kind: "refused"; readonly first: number };

const FIRST: Verdict = { kind: "first" };
export const ENTRY_BYTES = 40;
const CAPACITY_MIN = 1024;
const NO_ENTRY = -1;

interface Columns {
  readonly hashes: Uint32Array;
  readonly payloads: Uint32Array;
  readonly origins: Float64Array;
  readonly times: Float64Array;
  readonly table: Int32Array;
}

function columnsOf(capacity: number): Columns {
  return {
    hashes: new Uint32Array(capacity * 3),
    payloads: new Uint32Array(capacity * 2),
    origins: new Float64Array(capacity),
    times: new Float64Array(capacity),
    table: new Int32Array(capacity * 2).fill(NO_ENTRY),
  };
}

export class DedupeWindow {
  readonly #limits: WindowLimits;
  #capacity = CAPACITY_MIN;
  #columns: Columns = columnsOf(CAPACITY_MIN);
  /** Entries ever begun and ever evicted; positions in the ring are these modulo the capacity. */
  #end = 0;
  #start = 0;
  #newestMs = 0;
  #evictedEarly = 0;
  readonly #hash = new Uint32Array(3);

  constructor(limits: WindowLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#end - this.#start;
  }

  /** Origin of the oldest entry; Infinity without one. */
  get oldestOrigin(): number {
    return this.size === 0 ? Infinity : (this.#columns.origins[this.#start & (this.#capacity - 1)] as number);
  }

  /** Entries that left because there were too many, before their time. */
  get evictedEarly(): number {
    return this.#evictedEarly;
  }

  get bytes(): number {
    return this.#capacity * (ENTRY_BYTES + 8);
  }

  /** Decides a record, and remembers its key when it is the first. In the order of the log. */
  judge(handler: string, idempotency: Idempotency, origin: number, timeMs: number): Verdict {
    this.#hashOf(handler, idempotency.key);
    const found = this.#find();
    if (found !== NO_ENTRY) return this.#compare(found, idempotency, origin);
    this.#add(idempotency.payloadCrc, idempotency.payloadBytes, origin, idempotency.steadyMs ?? timeMs);
    return FIRST;
  }

  /** As `judge`, for a record that was judged before: whether another one came first. */
  recall(handler: string, idempotency: Idempotency, origin: number): Verdict {
    this.#hashOf(handler, idempotency.key);
    const found = this.#find();
    return found === NO_ENTRY ? FIRST : this.#compare(found, idempotency, origin);
  }

  #compare(at: number, { payloadCrc, payloadBytes }: Idempotency, origin: number): Verdict {
    const { origins, payloads } = this.#columns;
    const first = origins[at] as number;
    if (first >= origin) return FIRST;
    const isSame = payloads[at * 2] === payloadCrc >>> 0 && payloads[at * 2 + 1] === payloadBytes;
    return { kind: isSame ? "duplicate" : "mismatch", first };
  }

  #add(payloadCrc: number, payloadBytes: number, origin: number, timeMs: number): void {
    this.#newestMs = Math.max(this.#newestMs, timeMs);
    if (this.size === this.#capacity && this.#capacity < this.#limits.keysMax) this.#grow();
    this.#evict();
    const at = this.#end & (this.#capacity - 1);
    const { hashes, payloads, origins, times } = this.#columns;
    hashes.set(this.#hash, at * 3);
    payloads[at * 2] = payloadCrc;
    payloads[at * 2 + 1] = payloadBytes;
    origins[at] = origin;
    times[at] = this.#newestMs;
    this.#link(at);
    this.#end += 1;
  }

  /** Makes room for one more, and lets go of what is too old. */
  #evict(): void {
    const oldestMs = this.#newestMs - this.#limits.forMs;
    const most = Math.min(this.#limits.keysMax, this.#capacity);
    while (this.size > 0) {
      const at = this.#start & (this.#capacity - 1);
      const isOld = (this.#columns.times[at] as number) < oldestMs;
      if (!isOld && this.size < most) return;
      if (!isOld) this.#evictedEarly += 1;
      this.#unlink(at);
      this.#start += 1;
    }
  }

  #grow(): void {
    const old = this.#columns;
    const mask = this.#capacity - 1;
    this.#capacity *= 2;
    this.#columns = columnsOf(this.#capacity);
    const { hashes, payloads, origins, times } = this.#columns;
    for (let number = this.#start; number < this.#end; number += 1) {
      const from = number & mask;
      const to = number & (this.#capacity - 1);
      hashes.set(old.hashes.subarray(from * 3, from * 3 + 3), to * 3);
      payloads.set(old.payloads.subarray(from * 2, from * 2 + 2), to * 2);
      origins[to] = old.origins[from] as number;
      times[to] = old.times[from] as number;
      this.#link(to);
    }
  }

  // ── the hash table: linear probing ────────────────────────────────────────────────────────────

  #bucketOf(at: number): number {
    return ((this.#columns.hashes[at * 3] as number) & (this.#columns.table.length - 1)) >>> 0;
  }

  #find(): number {
    const { table, hashes } = this.#columns;
    const [first, second, third] = this.#hash;
    const mask = table.length - 1;
    // Ends: the table is never full.
    for (let bucket = ((first as number) & mask) >>> 0; ; bucket = (bucket + 1) & mask) {
      const at = table[bucket] as number;
      if (at === NO_ENTRY) return NO_ENTRY;
      if (hashes[at * 3] === first && hashes[at * 3 + 1] === second && hashes[at * 3 + 2] === third) return at;
    }
  }

  #link(at: number): void {
    const { table } = this.#columns;
    const mask = table.length - 1;
    let bucket = this.#bucketOf(at);
    while (table[bucket] !== NO_ENTRY) bucket = (bucket + 1) & mask;
    table[bucket] = at;
  }

  /**
   * Takes an entry out and moves back those that had to stand behind it (Knuth 6.4, algorithm R).
   */
  #unlink(at: number): void {
    const { table } = this.#columns;
    const mask = table.length - 1;
    let hole = this.#bucketOf(at);
    while (table[hole] !== at) {
      invariant(table[hole] !== NO_ENTRY, "an entry is in the table");
      hole = (hole + 1) & mask;
    }
    for (let bucket = (hole + 1) & mask; table[bucket] !== NO_ENTRY; bucket = (bucket + 1) & mask) {
      const wanted = this.#bucketOf(table[bucket] as number);
      // It may move when its own bucket doesn't lie between the hole and where it stands.
      if (((bucket - wanted) & mask) < ((bucket - hole) & mask)) continue;
      table[hole] = table[bucket] as number;
      hole = bucket;
    }
    table[hole] = NO_ENTRY;
  }

  /** Three independent mixes of the bytes (after MurmurHash3's steps, Appleby 2011). */
  #hashOf(handler: string, key: Uint8Array): void {
    let first = 0x9e3779b9;
    let second = 0x85ebca6b;
    let third = 0xc2b2ae35;
    const mix = (byte: number): void => {
      first = Math.imul(first ^ byte, 0x01000193) + 0x7feb352d;
      second = Math.imul((second << 13) | (second >>> 19), 5) + Math.imul(byte + 1, 0xcc9e2d51);
      third = Math.imul(third ^ (third >>> 15) ^ byte, 0x846ca68b);
    };
    for (let index = 0; index < handler.length; index += 1) mix(handler.charCodeAt(index));
    mix(256);
    for (let index = 0; index < key.length; index += 1) mix(key[index] as number);
    this.#hash[0] = finish(first ^ third);
    this.#hash[1] = finish(second ^ first);
    this.#hash[2] = finish(third ^ second);
  }

  // ── on disk ───────────────────────────────────────────────────────────────────────────────────

  /** Number of entries of records behind `origin`. */
  countBehind(origin: number): number {
    return this.#end - this.#firstBehind(origin);
  }

  /**
   * At most `most` entries of records behind `origin`, `ENTRY_BYTES` each: hash, payload, origin,
   * time.
   */
  encode(origin: number, most: number): Buffer {
    const from = this.#firstBehind(origin);
    const end = Math.min(this.#end, from + most);
    const bytes = Buffer.alloc((end - from) * ENTRY_BYTES);
    const { hashes, payloads, origins, times } = this.#columns;
    let offset = 0;
    for (let number = from; number < end; number += 1) {
      const at = number & (this.#capacity - 1);
      for (let word = 0; word < 3; word += 1) bytes.writeUInt32LE(hashes[at * 3 + word] as number, offset + word * 4);
      bytes.writeUInt32LE(payloads[at * 2] as number, offset + 12);
      bytes.writeUInt32LE(payloads[at * 2 + 1] as number, offset + 16);
      bytes.writeDoubleLE(origins[at] as number, offset + 24);
      bytes.writeDoubleLE(times[at] as number, offset + 32);
      offset += ENTRY_BYTES;
    }
    return bytes;
  }

  /** Adds entries as `encode` wrote them, but for those that are there already. */
  decode(bytes: Buffer): void {
    for (let offset = 0; offset + ENTRY_BYTES <= bytes.length; offset += ENTRY_BYTES) {
      const origin = bytes.readDoubleLE(offset + 24);
      if (this.size > 0 && origin <= this.#newestOrigin()) continue;
      for (let word = 0; word < 3; word += 1) this.#hash[word] = bytes.readUInt32LE(offset + word * 4);
      const payloadCrc = bytes.readUInt32LE(offset + 12);
      this.#add(payloadCrc, bytes.readUInt32LE(offset + 16), origin, bytes.readDoubleLE(offset + 32));
    }
  }

  /** The number of the first entry behind `origin`, by halving: origins grow. */
  #firstBehind(origin: number): number {
    let low = this.#start;
    let high = this.#end;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if ((this.#columns.origins[middle & (this.#capacity - 1)] as number) <= origin) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #newestOrigin(): number {
    return this.#columns.origins[(this.#end - 1) & (this.#capacity - 1)] as number;
  }
}

function finish(hash: number): number {
  let mixed = hash ^ (hash >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/** The origin of the last entry that `encode` has written; 0 without one. */
export function lastOriginOf(entries: Buffer): number {
  return entries.length < ENTRY_BYTES ? 0 : entries.readDoubleLE(entries.length - ENTRY_BYTES + 24);
}
