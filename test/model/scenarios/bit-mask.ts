/** Sets as bits: what one thread does to its member changes nothing for another. */
import * as assert from "uvu/assert";
import { clearBit, countBits, hasBit, isMaskEmpty, maskWords, setBit } from "@millrace/shared-memory";
import { type Mutant, scenario, type Scenario } from "../api.ts";

/** Two in the first word, of which one is the sign bit, and one in the second. */
const MEMBERS = [31, 1, 33];
const WORDS = maskWords(34);

/** Sets, clears and sets its bit again; what each call found. */
function useBit(member: number) {
  return (words: Int32Array, log: unknown[]): void => {
    setBit(words, 0, member);
    log.push(hasBit(words, 0, member));
    log.push(clearBit(words, 0, member));
    log.push(hasBit(words, 0, member));
    setBit(words, 0, member);
  };
}

export const scenarios: Scenario[] = [
  scenario({
    name: "bit mask: members of one word don't disturb each other",
    setUp: () => new Int32Array(new SharedArrayBuffer(WORDS * 4)),
    threads: { sign: useBit(31), low: useBit(1), second: useBit(33) },
    check(words, { logs }) {
      for (const log of Object.values(logs)) assert.equal(log, [true, true, false]);
      assert.is(countBits(words, 0, WORDS), MEMBERS.length);
      assert.not(isMaskEmpty(words, 0, WORDS));
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "bit mask: of two threads that clear a bit one is told that it was set",
    setUp: () => {
      const words = new Int32Array(new SharedArrayBuffer(WORDS * 4));
      words[1] = 1 << 1;
      return words;
    },
    threads: {
      first: (words) => clearBit(words, 0, 33),
      second: (words) => clearBit(words, 0, 33),
      counter: (words) => assert.ok(countBits(words, 0, WORDS) <= 1),
    },
    check(words, { results }) {
      assert.is(Object.values(results).filter((found) => found === true).length, 1);
      assert.ok(isMaskEmpty(words, 0, WORDS));
    },
    bounds: { preemptions: Infinity },
  }),
];

const FILE = "shared-memory/bit-mask";

export const mutants: Mutant[] = [
  {
    breaks: "a bit is set by a load and a store",
    file: FILE,
    from: "Atomics.or(words, base + (member >> 5), 1 << (member & 31));",
    to: "Atomics.store(words, base + (member >> 5), Atomics.load(words, base + (member >> 5)) | (1 << (member & 31)));",
  },
  {
    breaks: "a bit is set by an addition",
    file: FILE,
    from: "Atomics.or(words, base + (member >> 5), 1 << (member & 31));",
    to: "Atomics.add(words, base + (member >> 5), 2 << (member & 31));",
  },
  {
    breaks: "a bit is cleared by a load and a store",
    file: FILE,
    from: "return (Atomics.and(words, base + (member >> 5), ~bit) & bit) !== 0;",
    to: "const before = Atomics.load(words, base + (member >> 5));\n    Atomics.store(words, base + (member >> 5), before & ~bit);\n    return (before & bit) !== 0;",
  },
  {
    breaks: "what was in the set is looked up before it is cleared",
    file: FILE,
    from: "return (Atomics.and(words, base + (member >> 5), ~bit) & bit) !== 0;",
    to: "const found = hasBit(words, base, member);\n    Atomics.and(words, base + (member >> 5), ~bit);\n    return found;",
  },
  {
    breaks: "clearing takes the whole word",
    file: FILE,
    from: "return (Atomics.and(words, base + (member >> 5), ~bit) & bit) !== 0;",
    to: "return (Atomics.exchange(words, base + (member >> 5), 0) & bit) !== 0;",
  },
];
