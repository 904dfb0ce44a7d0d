/**
 * Values as bytes and back, in ns per round trip on one thread: what a call costs for its argument
 * alone.
 *
 * `msgpackr` is the library that Millrace uses for what isn't a flat object, in its default form
 * and with the options that keep what structuredClone keeps ("without loss": undefined, shared
 * views copied); it checks nothing beforehand.
 */
import { deserialize, serialize } from "node:v8";
import { Packr } from "msgpackr";
import { decode, encode } from "@millrace/codec";
import type { Benchmark, Measure, Subject } from "./harness.ts";

const LATIN: string = "Größe, Maß und Ähnliches: ".repeat(2308).slice(0, 60_000);
const CHINESE: string = "汉字漢字测试中文文本".repeat(6000);
const ASCII: string = "the quick brown fox ".repeat(3000);

const values: Readonly<Record<string, { readonly words: string; readonly make: (n: number) => unknown }>> = {
  one: { words: "one member, a number", make: (n) => ({ a: n }) },
  three: { words: "three members: number, short text, boolean", make: (n) => ({ id: n, name: "hello", isNew: true }) },
  payment: { words: "a payment of seven members", make: payment },
  latin: { words: "60,000 characters of Latin-1 text", make: (n) => `${n} ${LATIN}` },
  chinese: { words: "60,000 characters of Chinese text", make: (n) => `${n} ${CHINESE}` },
  ascii: { words: "60,000 characters of ASCII text", make: (n) => `${n} ${ASCII}` },
  letter: {
    words: "an object with 60,000 characters of Chinese text, and short ones",
    make: (n) => ({ id: n, subject: "汉字", body: CHINESE, tags: ["new", "新"] }),
  },
  nested: { words: "a payment whose last member is a list", make: paymentWithTags },
};

function payment(n: number): object {
  return {
    id: n,
    amount: n + 0.25,
    currency: "EUR",
    from: "DE89370400440532",
    to: "DE1234567890",
    isBooked: false,
    note: null,
  };
}

/** Written out: to extend the other would take longer than some subjects do. */
function paymentWithTags(n: number): object {
  return {
    id: n,
    amount: n + 0.25,
    currency: "EUR",
    from: "DE89370400440532",
    to: "DE1234567890",
    isBooked: false,
    note: null,
    tags: ["new", "checked"],
  };
}

/** Round trips between two readings of the clock. */
const BATCH = 50;

function subject(name: string, roundTrip: (value: unknown) => unknown): Subject {
  return {
    name,
    run: (caseId, ms) => {
      const { make } = values[caseId] as { make: (n: number) => unknown };
      runFor(ms / 5, make, roundTrip);
      return Promise.resolve<Measure[]>([{ unit: "ns", value: runFor(ms, make, roundTrip), better: "less" }]);
    },
  };
}

function runFor(ms: number, make: (n: number) => unknown, roundTrip: (value: unknown) => unknown): number {
  const startedAt = performance.now();
  let done = 0;
  let elapsedMs = 0;
  while (elapsedMs < ms) {
    for (let each = 0; each < BATCH; each += 1) {
      const value = make(done);
      const copy = roundTrip(value);
      if (typeof copy !== typeof value || (typeof copy === "object" && copy === value)) throw new Error("not a copy");
      done += 1;
    }
    elapsedMs = performance.now() - startedAt;
  }
  return (elapsedMs * 1e6) / done;
}

const plain = new Packr();
const lossless = new Packr({ useRecords: false, moreTypes: true, encodeUndefinedAsNil: false, copyBuffers: true });

export const codec: Benchmark = {
  name: "codec",
  cases: Object.entries(values).map(([id, { words }]) => ({ id, words })),
  subjects: [
    subject("millrace", (value) => decode(encode(value))),
    subject("msgpackr", (value) => plain.unpack(plain.pack(value)) as unknown),
    subject("msgpackr, without loss", (value) => lossless.unpack(lossless.pack(value)) as unknown),
    subject("node:v8", (value) => deserialize(serialize(value)) as unknown),
    subject("structuredClone", (value) => structuredClone(value)),
    subject("JSON", (value) => JSON.parse(JSON.stringify(value)) as unknown),
  ],
  effort: { full: { rounds: 5, cellMs: 500 }, quick: { rounds: 1, cellMs: 200 } },
};
