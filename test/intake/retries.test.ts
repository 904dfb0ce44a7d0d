import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
// Internal to the package; only its own tests reach for them.
import { backoffMs, RetryQueue, type WaitingRecord } from "@millrace/intake/internal/retries";

function record(sequence: number, headerBytes = 0, payloadBytes = 0): WaitingRecord {
  return {
    sequence,
    attempts: 1,
    handler: 0,
    priority: 0,
    timeMs: 0,
    headers: new Uint8Array(headerBytes),
    payload: new Uint8Array(payloadBytes),
  };
}

test("an empty queue is due never", () => {
  const queue = new RetryQueue();
  assert.is(queue.size, 0);
  assert.is(queue.bytes, 0);
  assert.is(queue.nextDueMs, Infinity);
});

test("after any additions and removals the earliest comes first, and size and bytes are those of what waits", () => {
  const addition = fc.record({ dueMs: fc.nat({ max: 12 }), headers: fc.nat({ max: 5 }), payload: fc.nat({ max: 50 }) });
  const step = fc.oneof(addition, addition, fc.constant("remove" as const));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const queue = new RetryQueue();
      const waiting = new Map<WaitingRecord, number>();
      steps.forEach((each, sequence) => {
        if (each !== "remove") {
          const added = record(sequence, each.headers, each.payload);
          queue.add(each.dueMs, added);
          waiting.set(added, each.dueMs);
        } else if (queue.size > 0) {
          const first = queue.peek();
          assert.is(waiting.get(first), queue.nextDueMs, "what comes first is due first, and wasn't taken before");
          queue.remove();
          waiting.delete(first);
        }
        assert.is(queue.size, waiting.size);
        assert.is(queue.nextDueMs, Math.min(...waiting.values()));
        assert.is(
          queue.bytes,
          [...waiting.keys()].reduce((sum, { headers, payload }) => sum + headers.length + payload.length, 0),
        );
      });
    }),
    { numRuns: 1000 },
  );
});

test("everything comes out once, in the order of the times", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 1e12, noNaN: true }), { maxLength: 300 }), (times) => {
      const queue = new RetryQueue();
      times.forEach((dueMs, sequence) => queue.add(dueMs, record(sequence)));
      const order: number[] = [];
      const sequences = new Set<number>();
      while (queue.size > 0) {
        order.push(queue.nextDueMs);
        sequences.add(queue.peek().sequence);
        assert.is(times[queue.peek().sequence], queue.nextDueMs);
        queue.remove();
      }
      assert.equal(
        order,
        times.toSorted((left, right) => left - right),
      );
      assert.is(sequences.size, times.length);
      assert.is(queue.nextDueMs, Infinity);
    }),
  );
});

test("the wait doubles with every attempt, up to the maximum", () => {
  const waits = [1, 2, 3, 4, 5, 6, 7].map((attempts) => backoffMs(attempts, 200, 5000, 1));
  assert.equal(waits, [200, 400, 800, 1600, 3200, 5000, 5000]);
  assert.is(backoffMs(1000, 200, 5000, 1), 5000);
  assert.is(backoffMs(1, 200, 50, 1), 50);
});

test("the wait is the random fraction of that", () => {
  assert.is(backoffMs(3, 100, 1000, 0), 0);
  assert.is(backoffMs(3, 100, 1000, 0.25), 100);
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1000 }),
      fc.nat({ max: 3_600_000 }),
      fc.nat({ max: 86_400_000 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (attempts, baseMs, maxMs, fraction) => {
        const waitMs = backoffMs(attempts, baseMs, maxMs, fraction);
        assert.ok(waitMs >= 0 && waitMs <= maxMs, `${waitMs} ms`);
      },
    ),
  );
});

test.run();
