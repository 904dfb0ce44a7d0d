import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
// Internal to the package; only its own tests reach for them.
import { RangeSet } from "@millrace/intake/internal/format/range-set";
import {
  briefHistory,
  decodeAck,
  decodeControl,
  decodeExpire,
  decodeFate,
  decodeHistory,
  decodeLease,
  decodeRedrive,
  DROPPED,
  encodeAck,
  encodeControl,
  encodeExpire,
  encodeFate,
  encodeLease,
  encodeRedrive,
  type Failure,
  historyBytes,
  lastError,
  rangesIn,
  REASON,
  withFailure,
} from "@millrace/intake/internal/format/state-records";
import { encode } from "@millrace/codec";
import { throwsWith } from "../support.ts";

/** As many as a record of the default limit takes, and more than any test writes otherwise. */
const RANGES_MAX = rangesIn(2 ** 20);
const NO_LIMIT = 2 ** 20;

function rangesOf(set: RangeSet): (readonly [number, number])[] {
  return Array.from({ length: set.ranges }, (_, index) => set.range(index));
}

function setOf(ranges: readonly (readonly [number, number])[]): RangeSet {
  const set = new RangeSet();
  for (const [first, last] of ranges) set.addRange(first, last);
  return set;
}

/** Every payload that it takes to write all ranges down, as delivery writes them. */
function payloadsOf(set: RangeSet): Buffer[] {
  const payloads: Buffer[] = [];
  for (let from = 0; from < set.ranges; from += RANGES_MAX) payloads.push(encodeAck(set, from, RANGES_MAX));
  return payloads;
}

const sequence = fc.oneof(fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 1, max: 2 ** 53 - 2 ** 33 }));
const range = fc
  .tuple(sequence, fc.oneof(fc.nat({ max: 20 }), fc.nat({ max: 2 ** 32 - 2 })))
  .map(([first, more]) => [first, first + more] as const);

test("what an ACK says to be finished is read back, and nothing else", () => {
  fc.assert(
    fc.property(
      fc.array(range, { maxLength: 1 }),
      fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 100 }),
      (far, near) => {
        const finished = setOf([...far, ...near.map((each) => [each, each] as const)]);
        // A merged range of more than 2^32 - 1 is beyond the format.
        fc.pre(rangesOf(finished).every(([first, last]) => last - first + 1 < 2 ** 32));
        const read = new RangeSet();
        for (const payload of payloadsOf(finished)) decodeAck(payload, read);
        assert.equal(rangesOf(read), rangesOf(finished));
      },
    ),
    { numRuns: 1000 },
  );
});

test("a range is twelve bytes: the sequence as u64 and the count as u32, little-endian", () => {
  const payload = encodeAck(
    setOf([
      [2 ** 40 + 3, 2 ** 40 + 7],
      [2 ** 41, 2 ** 41],
    ]),
    0,
    RANGES_MAX,
  );
  const expected = Buffer.alloc(24);
  expected.writeBigUInt64LE(2n ** 40n + 3n, 0);
  expected.writeUInt32LE(5, 8);
  expected.writeBigUInt64LE(2n ** 41n, 12);
  expected.writeUInt32LE(1, 20);
  assert.is(payload.toString("hex"), expected.toString("hex"));
});

test("more ranges than a record holds are written in several, each range in one", () => {
  for (const count of [RANGES_MAX - 1, RANGES_MAX, RANGES_MAX + 1, 2 * RANGES_MAX + 5]) {
    const finished = setOf(Array.from({ length: count }, (_, index) => [3 * index + 1, 3 * index + 2] as const));
    const payloads = payloadsOf(finished);
    assert.is(payloads.length, Math.ceil(count / RANGES_MAX));
    assert.ok(payloads.every((payload) => payload.length <= RANGES_MAX * 12));
    const read = new RangeSet();
    for (const payload of payloads) decodeAck(payload, read);
    assert.equal(rangesOf(read), rangesOf(finished));
  }
});

test("an ACK adds to what is finished already, in any order and twice", () => {
  const first = encodeAck(
    setOf([
      [1, 4],
      [9, 9],
    ]),
    0,
    RANGES_MAX,
  );
  const second = encodeAck(
    setOf([
      [5, 6],
      [8, 8],
    ]),
    0,
    RANGES_MAX,
  );
  for (const payloads of [
    [first, second],
    [second, first],
    [first, second, first, second],
  ]) {
    const finished = setOf([[20, 21]]);
    for (const payload of payloads) decodeAck(payload, finished);
    assert.equal(rangesOf(finished), [
      [1, 6],
      [8, 9],
      [20, 21],
    ]);
  }
});

test("nothing finished is an empty payload, and reads as nothing", () => {
  const payload = encodeAck(new RangeSet(), 0, RANGES_MAX);
  assert.is(payload.length, 0);
  const finished = new RangeSet();
  decodeAck(payload, finished);
  assert.is(finished.ranges, 0);
});

const NO_HISTORY = new Uint8Array(0);

function historyOf(count: number, bytesMax: number = NO_LIMIT, textLength = 3): Buffer {
  let history: Uint8Array = NO_HISTORY;
  for (let attempt = 1; attempt <= count; attempt += 1) {
    const error = new TypeError(`${attempt}`.padEnd(textLength, "x"));
    history = withFailure(history, { attempt, atMs: 1000 + attempt, reason: "error", error }, bytesMax);
  }
  return Buffer.from(history);
}

const recordOf = (history: Uint8Array): Buffer =>
  encodeFate({ origin: 1, attempts: 1, reason: REASON.error, atMs: 0, firstMs: 0 }, history);

const attemptsIn = (failures: readonly Failure[]): number[] => failures.map(({ attempt }) => attempt);

test("what a RETRY or DEAD record says is read back", () => {
  fc.assert(
    fc.property(sequence, fc.nat({ max: 0xffff }), fc.integer({ min: 1, max: 7 }), (origin, attempts, reason) => {
      const fate = { origin, attempts, reason, atMs: 1.7e12, firstMs: 1.6e12 };
      const payload = encodeFate(fate, historyOf(1));
      assert.equal(decodeFate(payload), fate);
      assert.is((lastError(historyBytes(payload)) as Error).message, "1xx");
    }),
  );
});

test("a history keeps the first three and the last ten failures, and counts the others", () => {
  const { failures, left } = decodeHistory(recordOf(historyOf(20)));
  assert.equal(attemptsIn(failures), [1, 2, 3, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
  assert.is(left, 7);
  assert.ok(failures.every(({ error }) => error instanceof TypeError));
});

test("a history fits into small records, with fewer failures and shorter errors", () => {
  for (const bytesMax of [1024, 2000, 8192, 65_536]) {
    const history = historyOf(30, bytesMax, 10_000);
    assert.ok(history.length <= bytesMax, `${history.length} bytes where ${bytesMax} fit`);
    const { failures, left } = decodeHistory(recordOf(history));
    assert.is(failures.length + left, 30);
    assert.is(failures.at(-1)?.attempt, 30);
  }
});

test("a RETRY record has the first and the last failure, cut short", () => {
  const brief = briefHistory(historyOf(9, NO_LIMIT, 3000));
  const { failures, left } = decodeHistory(recordOf(brief));
  assert.equal([attemptsIn(failures), left], [[1, 9], 7]);
  assert.ok(brief.length < 2048, `${brief.length} bytes`);
});

test("a DEAD record of version 1 has its origin and its error, and no more", () => {
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(77n);
  const payload = Buffer.concat([head, encode(new RangeError("of old"))]);
  const { origin, attempts } = decodeFate(payload);
  assert.equal([origin, attempts], [77, 0]);
  const { failures } = decodeHistory(payload);
  assert.is(failures.length, 1);
  assert.instance(failures[0]?.error, RangeError);
});

test("what REDRIVE, EXPIRE and LEASE records say is read back", () => {
  fc.assert(
    fc.property(fc.array(sequence), fc.string({ maxLength: 40 }), sequence, (origins, handler, lastDeath) => {
      const redrive = { handler, origins, lastDeath };
      assert.equal(decodeRedrive(encodeRedrive(redrive)), redrive);
      const expire = { kind: DROPPED, origins, lastDeath };
      assert.equal(decodeExpire(encodeExpire(expire)), expire);
    }),
  );
  assert.equal(decodeLease(encodeLease([1, 2 ** 45, 0])), [1, 2 ** 45, 0]);
});

test("an EXPIRE or CONTROL record of a kind that isn't known is refused", () => {
  throwsWith(() => decodeExpire(encodeExpire({ kind: 3, origins: [1], lastDeath: 0 })), "ERR_JOURNAL_VERSION");
  for (const kind of ["postponed", "__proto__", "toString", undefined]) {
    throwsWith(() => decodeControl(encodeControl({ kind } as never)), "ERR_JOURNAL_VERSION");
  }
});

test("a record of a version that isn't known is refused", () => {
  const payloads: readonly (readonly [Buffer, (payload: Buffer) => unknown])[] = [
    [recordOf(NO_HISTORY), decodeFate],
    [encodeRedrive({ handler: "", origins: [1], lastDeath: 0 }), decodeRedrive],
    [encodeExpire({ kind: DROPPED, origins: [1], lastDeath: 0 }), decodeExpire],
    [encodeLease([1, 1, 1]), decodeLease],
  ];
  for (const [payload, read] of payloads) {
    payload[7] = 3;
    throwsWith(() => read(payload), "ERR_JOURNAL_VERSION");
    // No build has counted that far: it isn't a version.
    payload[7] = 77;
    throwsWith(() => read(payload), "ERR_RECORD_UNREADABLE");
  }
});

test.run();
