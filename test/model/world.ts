/**
 * The world of one execution: virtual threads, shared memory, and what the rewritten modules call
 * (runtime.ts) and the explorer drives (explore.ts). One at a time in a process.
 */
import { Clocks } from "./clocks.ts";
import { mixA, mixB } from "./hash.ts";
import { START } from "./operations.ts";
import type { Race } from "./api.ts";

export const READY = 0;
/** In Atomics.wait. */
export const WAITING = 1;
/** Notified, not back yet. */
export const WOKEN = 2;
/** At its event loop. */
export const LOOPING = 3;
export const JOINING = 4;
export const DONE = 5;
export const DEAD = 6;

/** A function that a virtual thread runs from its event loop. */
export type Job = () => unknown;

export interface Timer {
  readonly id: number;
  readonly dueMs: number;
  readonly job: Job;
  readonly everyMs: number;
}

export type Steps = Generator<unknown, unknown, unknown>;

export class Thread {
  readonly index: number;
  readonly name: string;
  status = READY;
  /** It has come to a `pause`, and no other thread has taken a step since. */
  isResting = false;
  steps: Steps | undefined;

  /** The operation that it stands before. */
  op: number = START;
  site = 0;
  array: Int32Array | undefined;
  at = 0;
  first: unknown = 0;
  second: unknown = 0;
  operands = 0;

  /**
   * Hash of everything that it has observed: as it is deterministic, this stands for all of its
   * local state.
   */
  seenA: number;
  seenB: number;
  result: unknown = undefined;
  log: unknown[] = [];

  // Its event loop.
  readonly microtasks: Job[] = [];
  readonly deliveries: Job[] = [];
  readonly immediates: { readonly id: number; readonly job: Job }[] = [];
  timers: Timer[] = [];
  serial = 0;
  /** How often it has looked at the clock. */
  looks = 0;
  /** Until when a finite wait lasts. */
  dueMs = Infinity;
  rejections: unknown[] = [];
  environment: Map<unknown, unknown> | undefined;

  constructor(index: number, name: string) {
    this.index = index;
    this.name = name;
    this.seenA = index;
    this.seenB = ~index;
  }
}

/** Someone in a queue of Atomics.wait or waitAsync. */
export interface Waiter {
  readonly thread: Thread;
  readonly memory: Memory;
  readonly word: number;
  /** Of waitAsync: resolves its promise. */
  readonly resolve: ((outcome: string) => void) | undefined;
  readonly serial: number;
  readonly dueMs: number;
}

/** A shared buffer. */
export class Memory {
  readonly id: number;
  readonly buffer: SharedArrayBuffer;
  words: Int32Array;
  readonly clocks: Clocks;

  constructor(id: number, buffer: SharedArrayBuffer) {
    this.id = id;
    this.buffer = buffer;
    this.words = new Int32Array(buffer, 0, buffer.byteLength >> 2);
    this.clocks = new Clocks();
  }
}

/** A rule was broken: what `execute` ends with. */
export class Violation extends Error {
  override readonly name = "Violation";
  readonly kind: string;

  constructor(kind: string, message: string) {
    super(message);
    this.kind = kind;
  }
}

/** A module's variables: one set per virtual thread. */
export interface ModuleState {
  c: unknown;
  readonly init: () => unknown;
  each: unknown[];
}

class World {
  threads: Thread[] = [];
  /** The thread that runs; `alone` while the set-up or the final check does. */
  thread: Thread = new Thread(0, "set-up");
  alone: Thread = this.thread;
  isRunning = false;
  /** The scenario's final check runs: what it executes counts for nothing. */
  isChecking = false;
  execution = 0;
  waiters: Waiter[] = [];
  /** Hash of the contents of shared memory. */
  memoryA = 0;
  memoryB = 0;
  nowMs = 0;
  /** Time that a look at the clock takes; for this each thread has a clock of its own. */
  tickMs = 0;
  /** Whether a blocking wait runs out of time when no thread can go on otherwise. */
  timePasses = false;
  timeoutsLeft = 0;
  killsLeft = 0;
  failure: Violation | undefined;
  mainThread: string | undefined;
  environment: Map<unknown, unknown> = new Map();
  checksRaces = true;
  races: readonly Race[] = [];
  readonly racesSeen: Set<Race> = new Set();
  /** Values that a plain access gave when it needed no scheduling point. */
  value: unknown = undefined;
  /** Turns of loops since the last step. */
  turns = 0;
  made = 0;
  started = 0;
  lastMade = "";
  /** The last plain accesses, for a trace. */
  onAccess: ((op: number, site: number, memory: Memory, word: number, value: unknown) => void) | undefined;

  readonly #pools = new Map<number, Memory[]>();
  #allocated: number[] = [];
  /** Of the modules that are loaded for the scenario. */
  states: ModuleState[] = [];

  /** Everything back to the start; buffers are used again. */
  reset(names: readonly string[]): void {
    this.execution += 1;
    this.threads = names.map((name, index) => new Thread(index, name));
    this.alone = new Thread(names.length, "set-up");
    this.isRunning = false;
    this.isChecking = false;
    this.waiters = [];
    this.memoryA = 0;
    this.memoryB = 0;
    this.nowMs = 0;
    this.failure = undefined;
    this.environment = new Map();
    this.made = 0;
    this.started = 0;
    this.#allocated = [];
    for (const state of this.states) {
      state.each = [];
    }
    this.enter(this.alone);
  }

  /** Makes `thread` the one that runs. */
  enter(thread: Thread): void {
    this.thread = thread;
    this.turns = 0;
    for (const state of this.states) {
      state.c = state.each[thread.index] ??= state.init();
    }
  }

  fail(kind: string, message: string): never {
    this.failure ??= new Violation(kind, message);
    throw this.failure;
  }

  /** Shared memory; the same buffer, zeroed, for the same allocation of every execution. */
  allocate(bytes: number, options?: { maxByteLength?: number }): SharedArrayBuffer {
    const owner = this.thread.index;
    const nth = (this.#allocated[owner] ??= 0);
    this.#allocated[owner] = nth + 1;
    let pool = this.#pools.get(owner);
    if (pool === undefined) {
      pool = [];
      this.#pools.set(owner, pool);
    }
    const known = pool[nth];
    if (known !== undefined && known.buffer.byteLength === bytes && (options?.maxByteLength ?? bytes) === bytes) {
      known.words.fill(0);
      return known.buffer;
    }
    const buffer =
      options === undefined ? new SharedArrayBuffer(bytes) : new SharedArrayBuffer(bytes, options as never);
    if (bytes % 4 !== 0) this.fail("unsupported", "shared memory whose size is not a multiple of 4 bytes");
    const memory = new Memory((owner + 1) * 4096 + nth, buffer);
    pool[nth] = memory;
    (buffer as Marked).memory = memory;
    return buffer;
  }

  /** Forgets all buffers: another scenario begins. */
  clear(): void {
    this.#pools.clear();
    this.racesSeen.clear();
  }

  /** The memory behind an array; undefined when it is not shared. */
  memoryOf(array: unknown): Memory | undefined {
    if (!ArrayBuffer.isView(array)) return undefined;
    const buffer = array.buffer as Marked;
    if (buffer.memory !== undefined) return buffer.memory;
    if (!(buffer instanceof SharedArrayBuffer)) return undefined;
    return this.fail("unsupported", "shared memory that was not allocated by rewritten code");
  }

  /** Before the word changes, and again after it has: keeps the hash of the contents. */
  toggle(memory: Memory, word: number): void {
    const key = Math.imul(memory.id, 0x2545f491) + word;
    if (word >= memory.words.length) memory.words = new Int32Array(memory.buffer, 0, memory.buffer.byteLength >> 2);
    const value = memory.words[word] as number;
    this.memoryA ^= mixA(key, value);
    this.memoryB ^= mixB(key, value);
  }
}

type Marked = SharedArrayBuffer & { memory?: Memory };

export const world: World = new World();
