// The trace context of the W3C, as a record keeps it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import {
  isTraceparent,
  isTracestate,
  markFailure,
  packTrace,
  partsOfTraceparent,
  takeMark,
  unpackTrace,
} from "@millrace/intake/internal/format/trace-context";

const ID = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";

test("what the standard calls valid is read, and nothing else", () => {
  for (const valid of [
    `00-${ID}-${SPAN}-01`,
    `00-${ID}-${SPAN}-00`,
    `cc-${ID}-${SPAN}-01-more`,
    `01-${ID}-${SPAN}-ff`,
  ]) {
    assert.ok(isTraceparent(valid), valid);
  }
  const invalid: unknown[] = [
    `00-${ID}-${SPAN}-01-more`,
    `ff-${ID}-${SPAN}-01`,
    `00-${"0".repeat(32)}-${SPAN}-01`,
    `00-${ID}-${"0".repeat(16)}-01`,
    `00-${ID.toUpperCase()}-${SPAN}-01`,
    `00-${ID}-${SPAN}-1`,
    `00-${ID}-${SPAN}-01 `,
    `00-${ID}-${SPAN}-01\n`,
    `01-${ID}-${SPAN}-01.more`,
    `00-${ID}-${SPAN}`,
    "",
    undefined,
    7,
    `01-${ID}-${SPAN}-01-${"x".repeat(1000)}`,
  ];
  for (const text of invalid) assert.not(isTraceparent(text), String(text));
});

test("a version to come is kept as the one that is known", () => {
  assert.is(packTrace({ traceparent: `cc-${ID}-${SPAN}-01-more` }), `00-${ID}-${SPAN}-01`);
  assert.equal(partsOfTraceparent(`cc-${ID}-${SPAN}-01-more`), { traceId: ID, spanId: SPAN, traceFlags: 1 });
});

test("what is packed has at most 255 bytes: whole entries, from the left", () => {
  const entry = fc.tuple(fc.stringMatching(/^[a-z]{1,8}$/), fc.stringMatching(/^[\x21-\x2b\x2d-\x3c\x3e-\x7e]{1,90}$/));
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 12 }), fc.constantFrom(",", ", ", " ,"), (entries, comma) => {
      const all = entries.map(([name, value]) => `${name}=${value}`);
      const tracestate = all.join(comma);
      const packed = packTrace({ traceparent: `00-${ID}-${SPAN}-01`, tracestate }) as string;
      assert.ok(Buffer.byteLength(packed) <= 255);
      const kept = unpackTrace(packed);
      assert.is(kept.traceparent, `00-${ID}-${SPAN}-01`);
      const left = kept.tracestate === undefined ? [] : kept.tracestate.split(",");
      assert.equal(left, isTracestate(tracestate) ? all.slice(0, left.length) : []);
      const next = all[left.length];
      if (isTracestate(tracestate) && next !== undefined) assert.ok([...left, next].join(",").length > 199);
    }),
  );
});

test("a mark is taken off an error, and what can't be marked is left alone", () => {
  const error = new Error("no");
  const traceparent = `00-${ID}-${SPAN}-01`;
  markFailure(error, traceparent);
  markFailure(error, traceparent);
  assert.is(takeMark(error), traceparent);
  assert.equal(Object.keys(error), []);
  assert.is(takeMark(error), undefined);
  for (const thrown of ["a text", 7, null, undefined, Object.freeze({ a: 1 }), Object.freeze(new Error("no"))]) {
    markFailure(thrown, traceparent);
    assert.is(takeMark(thrown), undefined);
  }
  const foreign = { millraceSpan: "of the user" };
  assert.is(takeMark(foreign), undefined);
  assert.equal(foreign, { millraceSpan: "of the user" });
});

test.run();
