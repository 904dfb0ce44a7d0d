// The keeper's making of segments beside a log that never rests: in time, and in steps that leave
// the log its disk. The disk and the clock are a test's own; what makes the files is the real one.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SpareMaker } from "@millrace/journal/internal/keeper/spare-maker";
import {
  type JournalMemory,
  OPEN,
  SPACE,
  SPACE_FULL,
  SPARE_FAILED,
  SPARE_PAGES,
  SPARE_READY,
  SPARE_STATE,
  SPARE_WANTED,
  STATE,
} from "@millrace/journal/internal/memory/control";
import { writerStats } from "@millrace/journal/internal/memory/stats";
import { diskFullError, type Storage } from "@millrace/journal/internal/storage/storage";

const MIB = 2 ** 20;
const PAGE = 4096;
const RESERVE = 8 * MIB;
const LIMITS = { recordBytesMax: 65_536, batchBytesMax: MIB, segmentBytesMax: 64 * MIB };

/** A disk on which a call takes as long as `msPerMib` says, and the log beside it. */
class World {
  readonly files = new Map<string, number>([[`reserve-${RESERVE}.wal`, RESERVE]]);
  readonly control = new Int32Array(new SharedArrayBuffer(65_536));
  readonly maker: SpareMaker;
  readonly steps: number[] = [];
  /** Files that are open. */
  open = 0;
  /** Throws what a call of the disk throws. */
  fail: () => void = () => {};
  freeBytes = 1e12;
  now = 1000;
  #batches = 0;
  readonly #stats;
  readonly #segmentBytes: number;
  left: number;

  constructor(segmentBytes: number) {
    const memory = {
      control: this.control.buffer,
      stats: new SharedArrayBuffer(4096),
      threads: new SharedArrayBuffer(4096),
      writerThread: 0,
    } as unknown as JournalMemory;
    this.#stats = writerStats(memory.stats);
    this.#segmentBytes = segmentBytes;
    this.left = segmentBytes;
    Atomics.store(this.control, STATE, OPEN);
    this.#stats.set("segmentBytes", segmentBytes);
    this.log(0);
    this.maker = new SpareMaker(this.#storage(), memory, LIMITS, () => this.now);
  }

  #storage(): Storage {
    const { files } = this;
    const fileOf = (name: string): object => ({
      size: () => files.get(name) ?? 0,
      write: ([bytes]: [Uint8Array], at: number) => {
        this.fail();
        files.set(name, at + bytes.length);
        this.freeBytes -= bytes.length;
        this.steps.push(bytes.length);
        return bytes.length;
      },
      sync: () => {},
      close: () => {
        this.open -= 1;
      },
    });
    return {
      list: () => {
        this.fail();
        return [...files.keys()];
      },
      open: (name: string, mode: string) => {
        if (mode === "create") files.set(name, 0);
        this.open += 1;
        return fileOf(name);
      },
      rename: (from: string, to: string) => {
        files.set(to, files.get(from) as number);
        files.delete(from);
      },
      remove: (name: string) => {
        this.freeBytes += files.get(name) ?? 0;
        files.delete(name);
      },
      syncDirectory: () => {},
      space: () => ({ freeBytes: this.freeBytes, totalBytes: 2e12 }),
    } as unknown as Storage;
  }

  /** The writer asks for a spare of so many bytes. */
  want(bytes: number): void {
    Atomics.store(this.control, SPARE_PAGES, bytes / PAGE);
    Atomics.store(this.control, SPARE_STATE, SPARE_WANTED);
  }

  /** The log has written so much, and goes on with its next batch. */
  log(bytes: number): void {
    this.left -= bytes;
    this.#batches += 1;
    this.#stats.set("segmentLeft", this.left);
    this.#stats.set("batches", this.#batches);
    this.#stats.set("syncStartedMs", 1);
  }

  rest(): void {
    this.#stats.set("syncStartedMs", 0);
    this.now += 10;
  }

  /** The log fills the segment up to `part`, and the keeper has a turn after each millisecond. */
  fill(part: number, bytesPerMs: number): void {
    while (this.left > this.#segmentBytes * (1 - part)) {
      this.log(bytesPerMs);
      this.now += 1;
      this.maker.serve();
    }
  }

  get state(): number {
    return Atomics.load(this.control, SPARE_STATE);
  }

  get made(): number {
    return this.steps.reduce((sum, step) => sum + step, 0);
  }
}

for (const [segment, bytesPerMs] of [
  [8 * MIB, 2000],
  [8 * MIB, 40_000],
  [64 * MIB, 20_000],
  [64 * MIB, 300_000],
] as const) {
  const name = `${segment / MIB} MiB, ${bytesPerMs / 1000} MB a second`;
  test(`a spare is ready before the segment is full: ${name}`, () => {
    const world = new World(segment);
    world.want(Math.min(segment * 2, LIMITS.segmentBytesMax));
    world.fill(0.5, bytesPerMs);
    assert.is(world.state, SPARE_WANTED, "no sooner than it must be");
    world.fill(0.75, bytesPerMs);
    assert.is(world.state, SPARE_READY);
  });
}

test("a keeper that was away for long catches up", () => {
  const world = new World(16 * MIB);
  world.want(16 * MIB);
  world.fill(0.2, 40_000);
  world.log(7 * MIB);
  world.now += 200;
  world.fill(0.8, 40_000);
  assert.is(world.state, SPARE_READY);
});

test("a spare that is wanted late, and one that is begun anew, are ready in time", () => {
  const world = new World(16 * MIB);
  world.log(8 * MIB);
  world.want(8 * MIB);
  world.fill(0.55, 40_000);
  world.want(16 * MIB);
  world.fill(0.8, 40_000);
  assert.is(world.state, SPARE_READY);
});

test("truncation takes nothing from a file in the making but for one that does as well", () => {
  const world = new World(16 * MIB);
  world.want(16 * MIB);
  world.fill(0.4, 40_000);
  world.maker.hasRoom();
  world.fill(0.75, 40_000);
  assert.is(world.state, SPARE_READY);
  assert.is(world.made, 16 * MIB);
  world.want(16 * MIB);
  world.files.delete(`spare-${16 * MIB}.wal`);
  world.left = 16 * MIB;
  world.fill(0.3, 40_000);
  world.files.set(`spare-${16 * MIB}-7.wal`, 16 * MIB);
  world.maker.hasRoom();
  world.fill(0.32, 40_000);
  assert.is(world.state, SPARE_READY);
  assert.equal([...world.files.keys()].toSorted(), [`reserve-${RESERVE}.wal`, `spare-${16 * MIB}-7.wal`]);
});

test("an attempt after one that failed is as fast as the disk, however busy the log", () => {
  const world = new World(64 * MIB);
  world.freeBytes = 0;
  world.want(64 * MIB);
  world.fill(0.2, 20_000);
  assert.is(world.state, SPARE_FAILED);
  world.freeBytes = 1e12;
  world.now += 10_000;
  world.log(PAGE);
  world.maker.serve();
  assert.is(world.state, SPARE_READY);
  assert.is(world.made, 64 * MIB);
});

test("a disk that was full makes it hurry, and so does a log that rests", () => {
  const full = new World(64 * MIB);
  full.want(64 * MIB);
  Atomics.store(full.control, SPACE, SPACE_FULL);
  full.log(PAGE);
  full.maker.serve();
  assert.is(full.state, SPARE_READY);
  const resting = new World(64 * MIB);
  resting.want(8 * MIB);
  for (let turn = 0; turn < 32; turn += 1) {
    assert.is(resting.state, SPARE_WANTED, "it looks at the log after each step");
    resting.rest();
    resting.maker.serve();
  }
  assert.is(resting.state, SPARE_READY);
});

test("where there is no room for a spare, a smaller one is ready as soon", () => {
  const world = new World(32 * MIB);
  world.fail = () => {
    if ((world.files.get(`spare-${32 * MIB}.wal.tmp`) ?? 0) > 12 * MIB) throw diskFullError("spare", 0);
  };
  world.want(32 * MIB);
  world.fill(0.75, 40_000);
  assert.is(world.state, SPARE_READY);
  assert.ok(world.files.has(`spare-${16 * MIB}.wal`), [...world.files.keys()].join());
});

test("other programs that take the room meanwhile aren't left without any", () => {
  const world = new World(32 * MIB);
  world.want(32 * MIB);
  world.fill(0.4, 40_000);
  world.freeBytes = 66 * MIB;
  world.fill(0.42, 40_000);
  assert.is(world.files.has(`spare-${32 * MIB}.wal.tmp`), false);
  assert.ok(world.freeBytes >= 64 * MIB);
});

test("a mistake of the system that passes ends no keeper", () => {
  const world = new World(8 * MIB);
  world.fail = () => {
    throw Object.assign(new Error("too many files"), { code: "EMFILE", errno: -24, syscall: "open" });
  };
  world.want(8 * MIB);
  world.log(PAGE);
  world.maker.serve();
  assert.is(world.state, SPARE_FAILED);
  world.fail = () => {};
  world.now += 1000;
  world.maker.serve();
  assert.is(world.state, SPARE_READY);
});

test("a file in the making is given up when another call than its own fails", () => {
  const world = new World(8 * MIB);
  for (let attempt = 1; attempt <= 3; attempt += 1) {
    world.want(8 * MIB);
    world.left = 8 * MIB;
    world.fill(0.3, 40_000);
    assert.ok(world.files.has(`spare-${8 * MIB}.wal.tmp`), "it is being made");
    // Where it looks for a file that does as well.
    world.maker.hasRoom();
    world.fail = () => {
      throw Object.assign(new Error("EMFILE"), { code: "EMFILE", errno: -24, syscall: "scandir" });
    };
    world.now += 100_000;
    world.maker.serve();
    assert.is(world.state, SPARE_FAILED);
    assert.is(world.open, 0);
    assert.equal([...world.files.keys()], [`reserve-${RESERVE}.wal`]);
    world.fail = () => {};
    world.now += 100_000;
  }
});

test("at the end nothing is left of a file in the making", () => {
  const world = new World(8 * MIB);
  world.want(8 * MIB);
  world.fill(0.3, 40_000);
  assert.ok(world.files.has(`spare-${8 * MIB}.wal.tmp`));
  world.maker.end();
  assert.equal([...world.files.keys()], [`reserve-${RESERVE}.wal`]);
});

test.run();
