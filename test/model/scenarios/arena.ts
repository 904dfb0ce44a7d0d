/**
 * An arena's regions: a reader finds the memory of every block, whatever was dropped, made anew, or
 * left by a dead owner.
 */
import * as assert from "uvu/assert";
import {
  Arena,
  ARENA_WORDS,
  ArenaView,
  forgetArena,
  GIVE_BACK_TICKS,
  initArenaTable,
  offsetOf,
} from "@millrace/shared-memory";
import { join, type Mutant, scenario, type Scenario } from "../api.ts";

const PAGE = 4096;
/** More than the first region has. */
const LARGE: number = 2 * PAGE;
const REGIONS = 4;

interface Shared {
  readonly table: Int32Array;
  readonly first: SharedArrayBuffer;
  /** Buffers of regions that are made one after the other. */
  readonly buffers: readonly SharedArrayBuffer[];
  /**
   * [0] how many of them were made, then the index and number that each was sent under: the
   * messages.
   */
  readonly sent: Int32Array;
  /** [0] a block on its way to the reader, 0 for none; [1] and [2] how many were sent and read. */
  readonly mail: Int32Array;
}

function setUp(): Shared {
  const table = new Int32Array(new SharedArrayBuffer(ARENA_WORDS * 4));
  initArenaTable(table, 0);
  const buffers: SharedArrayBuffer[] = [];
  for (let region = 0; region < REGIONS; region += 1) buffers.push(new SharedArrayBuffer(LARGE));
  return {
    table,
    first: new SharedArrayBuffer(PAGE),
    buffers,
    sent: new Int32Array(new SharedArrayBuffer((REGIONS + 1) * 4)),
    mail: new Int32Array(new SharedArrayBuffer(16)),
  };
}

function ownerOf({ table, first, buffers, sent }: Shared): Arena {
  return new Arena(table, 0, first, (index, number) => {
    const region = Atomics.add(sent, 0, 1);
    for (let before = 1; before <= region; before += 1) {
      assert.is.not(Atomics.load(sent, before), index * 256 + number, "no two regions have one number");
    }
    Atomics.store(sent, region + 1, index * 256 + number);
    return buffers[region];
  });
}

function viewOf({ table, first, buffers, sent }: Shared): ArenaView {
  return new ArenaView(table, 0, first, (index, number) => {
    for (let region = 0; region < REGIONS; region += 1) {
      if (Atomics.load(sent, region + 1) === index * 256 + number) return buffers[region] as SharedArrayBuffer;
    }
    return assert.unreachable("a region was sent before a block of it") as never;
  });
}

/**
 * Fills blocks and hands them over one at a time, as far as the reader keeps up; gives regions back
 * in between.
 */
function own(shared: Shared, rounds: number, mark: number, log: unknown[]): void {
  const arena = ownerOf(shared);
  const { mail } = shared;
  let owned = 0;
  const sentBefore = Atomics.load(mail, 1);
  for (let attempt = 0, round = 0; attempt < rounds + 3 && round < rounds; attempt += 1) {
    if (owned !== 0) {
      if (Atomics.load(mail, 2) !== sentBefore + round) continue;
      arena.free(owned);
      for (let tick = 0; tick <= GIVE_BACK_TICKS; tick += 1) arena.tick();
    }
    owned = arena.allocate(LARGE);
    const words = new Int32Array(arena.bytesOf(owned).buffer as SharedArrayBuffer);
    words[offsetOf(owned) >> 2] = mark + round;
    log.push(owned);
    Atomics.add(mail, 1, 1);
    Atomics.store(mail, 0, owned);
    round += 1;
  }
}

/** Reads blocks and says so; lets go of regions whenever it finds none. */
function read(shared: Shared, attempts: number, log: unknown[]): void {
  const view = viewOf(shared);
  const { mail } = shared;
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const block = Atomics.exchange(mail, 0, 0);
    if (block === 0) {
      view.letGo();
      continue;
    }
    const region = view.bytesOf(block);
    assert.is(view.bytesOf(block), region, "it remembers");
    const words = new Int32Array(region.buffer as SharedArrayBuffer);
    log.push(words[offsetOf(block) >> 2]);
    Atomics.add(mail, 2, 1);
  }
}

export const scenarios: Scenario[] = [
  scenario({
    name: "arena: a reader follows regions that are dropped and made again",
    setUp,
    threads: {
      owner: (shared, log) => own(shared, 3, 10, log),
      reader: (shared, log) => read(shared, 5, log),
    },
    check(_shared, { logs }) {
      const readMarks = logs["reader"] as number[];
      assert.equal(readMarks, [10, 11, 12].slice(0, readMarks.length));
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "arena: an owner that dies at any step is followed by one with regions of its own",
    setUp,
    threads: {
      owner: (shared, log) => own(shared, 2, 10, log),
      heir(shared, log) {
        join("owner");
        // As the supervisor: not before every block that was sent is read, here or there.
        const { mail, table } = shared;
        if (Atomics.exchange(mail, 0, 0) !== 0) Atomics.add(mail, 2, 1);
        if (Atomics.load(mail, 2) !== Atomics.load(mail, 1)) return;
        forgetArena(table, 0);
        own(shared, 1, 20, log);
      },
      reader: (shared, log) => read(shared, 4, log),
    },
    check({ table }, { logs }) {
      const marks = logs["reader"] as number[];
      assert.equal(
        marks,
        marks.toSorted((left, right) => left - right),
      );
      for (const mark of marks) assert.ok([10, 11, 20].includes(mark), "no reader sees what isn't the block's");
      let live = 0;
      for (let index = 2; index < 128; index += 1) live += (table[index] as number) & 1;
      assert.ok(live <= 1);
    },
    kill: ["owner"],
    bounds: { preemptions: 1 },
    deep: { preemptions: 2 },
  }),
];

const ARENA = "shared-memory/arena";
const VIEW = "shared-memory/arena-view";

export const mutants: Mutant[] = [
  {
    breaks: "a region keeps the number of the one before it",
    file: ARENA,
    from: "const number = (this.#table[this.#at + index] + 1) | 1 | 0;",
    to: "const number = 1;",
  },
  {
    breaks: "a region's number is stored after its buffer was sent",
    by: "dies at any step",
    file: ARENA,
    from: "Atomics.store(this.#table, this.#at + index, number);\n        let buffer = this.#create(index, number, Math.max(needed, grown));",
    to: "let buffer = this.#create(index, number, Math.max(needed, grown));\n        Atomics.store(this.#table, this.#at + index, number);",
  },
  {
    breaks: "a region's number is never stored",
    file: ARENA,
    from: "Atomics.store(this.#table, this.#at + index, number);\n        let",
    to: "let",
  },
  {
    breaks: "a dropped region keeps its number",
    file: ARENA,
    from: "Atomics.store(this.#table, this.#at + region.index, (this.#table[this.#at + region.index] + 1) | 0);",
    to: "Atomics.store(this.#table, this.#at + region.index, (this.#table[this.#at + region.index] - 1) | 0);",
  },
  {
    breaks: "an heir begins with the numbers of the dead owner",
    by: "dies at any step",
    file: ARENA,
    from: "Atomics.store(table, at + index, (number + 1) | 0);",
    to: "Atomics.store(table, at + index, (number - 1) | 0);",
  },
  {
    breaks: "a reader keeps to the region that it knows under an index",
    file: VIEW,
    from: "if (this.#numbers[index] === number)",
    to: "if (this.#views[index] !== undefined)",
  },
  {
    breaks: "a reader remembers the number and not the region",
    file: VIEW,
    from: "this.#views[index] = view;",
    to: "this.#views[index] ??= view;",
  },
  {
    breaks: "a reader lets go of a region and believes to have it",
    file: VIEW,
    from: "this.#numbers[index] = 0;",
    to: "this.#numbers[index] = Atomics.load(this.#table, this.#at + index);",
  },
];
