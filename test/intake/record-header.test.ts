import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  deliveryTerms,
  encodedHeaders,
  encodeTerms,
  HeaderParser,
  isIdempotent,
  publisherHeaders,
  termsOf,
} from "@millrace/intake/internal/format/record-header";
import fc from "../property.ts";

const text = fc.string({ minLength: 1, maxLength: 20 });
const time = fc.nat(2 ** 31 - 1);
const plain = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(model, { noNullPrototype: true });
const terms = fc.record(
  {
    isOrdered: fc.constant(true),
    idempotency: plain({ key: text.map((key) => Buffer.from(key)), payloadCrc: time, payloadBytes: time }),
    producer: fc.record(
      { id: text, sequence: time, payloadCrc: time },
      { requiredKeys: ["id", "sequence"], noNullPrototype: true },
    ),
    notBeforeMs: time,
    expiresAtMs: time,
    keepsResult: fc.constant(true),
    trace: fc.string({ unit: "grapheme-ascii", maxLength: 20 }),
    replayOf: time,
    scheduled: plain({ name: text, dueMs: time, missed: time }),
  },
  { requiredKeys: [], noNullPrototype: true },
);

test("whatever terms a header has, they and the headers behind them are read back", () => {
  fc.assert(
    fc.property(
      terms,
      fc.option(
        time.map((line) => ({ line })),
        { nil: undefined },
      ),
      (given, headers) => {
        const header = Buffer.from(encodeTerms("pay", given, headers));
        const read = termsOf(header);
        for (const [name, value] of Object.entries(given)) {
          assert.equal(read[name as keyof typeof read], value, name);
        }
        assert.is(encodedHeaders(header).byteOffset - header.byteOffset, read.end);
        assert.equal(publisherHeaders(header), headers);
        assert.is(isIdempotent(header), given.idempotency !== undefined);
        // The terms that a delivery looks at are there, with or without the terms of the judgement.
        const { keepsResult = false, isOrdered = false, notBeforeMs, expiresAtMs, replayOf } = deliveryTerms(header);
        assert.equal(
          { keepsResult, isOrdered, notBeforeMs, expiresAtMs, replayOf },
          {
            keepsResult: given.keepsResult ?? false,
            isOrdered: given.isOrdered ?? false,
            notBeforeMs: given.notBeforeMs,
            expiresAtMs: given.expiresAtMs,
            replayOf: given.replayOf,
          },
        );
      },
    ),
    { numRuns: 1000 },
  );
});

test("handlers and producers with names of one length are told apart in any order", () => {
  const names = ["pay", "pax", "ship", "é1"];
  const parser = new HeaderParser(names);
  const name = fc.constantFrom(...names);
  const id = fc.constantFrom("file-1", "file-2", "file-10", "datei-é", "datei-e");
  fc.assert(
    fc.property(fc.array(fc.tuple(name, id, time)), (records) => {
      for (const [handler, producer, sequence] of records) {
        const given = { id: producer, sequence, payloadCrc: sequence };
        const header = Buffer.from(encodeTerms(handler, { producer: given }));
        assert.is(parser.handler(header), names.indexOf(handler));
        assert.equal(termsOf(header).producer, given);
      }
    }),
  );
});

test("a header that ends within the name or the id isn't taken for a longer one", () => {
  const parser = new HeaderParser(["pay"]);
  const header = Buffer.from(encodeTerms("pay", { producer: { id: "file-1", sequence: 1, payloadCrc: 1 } }));
  assert.is(parser.handler(header), 0);
  assert.is.not(parser.handler(header.subarray(0, 4)), 0);
  assert.is(parser.handler(header), 0);
});

test.run();
