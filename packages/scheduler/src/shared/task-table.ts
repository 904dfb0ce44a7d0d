/**
 * The task table: the truth about every task. Entries in queues may be stale.
 *
 * A slot is 16 words, 64 bytes, one cache line; the one exception to words of different writers
 * lying apart, because a slot has one writer at a time, the one that its state names.
 *
 *   0      STATE            bits 0–3 state, 4–11 machine, 12–15 attempt, 16–31 generation
 *   1      META             bits 0–11 handler, 12–13 priority, 19 retry after a crash,
 *                           20 retry after an error, 21–24 attempts at most, 25 timed,
 *                           26 to be run alone, 27–30 kind of the argument
 *   2      ARGUMENT_BLOCK   reference of its block in the submitter's arena; 0 without
 *   3      ARGUMENT_BYTES
 *   4      HEADER_BYTES     bytes after the argument that describe the task to the handler's
 *          context; 0 without
 *   5      RESULT           kind of the result
 *   6      RESULT_PLACE     offset in the argument's block, or reference of a block in the
 *          machine's arena
 *   7      RESULT_BYTES
 *   8–9    ARGUMENT_NUMBER  a 64-bit float
 *   10–11  RESULT_NUMBER    a 64-bit float
 *   12     CANCEL           1 when the submitter wants no result any more; the one word with
 *          another writer while the task runs
 *   13     DEADLINE         ms since the scheduler's epoch, the low 32 bits (Shared.msUntil); 0
 *          without
 *   14     TIME             QUEUED: when it was submitted, µs since the epoch, 0 where that isn't
 *          sampled; RUNNING and timed: when it
 *                           was started, ms since the epoch, likewise
 *   15     CRASHES          bits 0–1 how many machines died under it while it ran alone, 2–9,
 *          10–17, 18–25 which ones
 *
 * States and who moves them on:
 *
 *   FREE ──submitter──► QUEUED ──machine (CAS)──► RUNNING ──machine──► DONE or FAILED ──submitter──► FREE
 *                      │  ▲                        │  │
 *                      │  ├── machine ─────────────┘  │   the handler threw and the task may run again; or it was not begun
 *                      │  └── supervisor ─────────────┘   the machine died and the task may run again; otherwise the supervisor
 *                      │                                  makes it FAILED
 *                      └──submitter (CAS)──► FREE         taken back before any machine had it
 *
 * A free slot is filled by plain stores; QUEUED publishes them. The compare-and-swap QUEUED→RUNNING
 * is what makes the scheduler safe: a stale or doubled queue entry fails it, and the supervisor
 * finds a task whose entry was lost by looking at the table. Everything but STATE and CANCEL is
 * plain and ordered by STATE.
 *
 * A call of Atomics costs more than all the plain accesses of a task, so no thread loads a state
 * that it knows: the machine keeps what `claim` returned, the submitter keeps the generations of
 * its slots.
 */
import { invariant } from "@millrace/base";
import { PARCEL } from "./values.ts";

const SLOT_WORDS = 16;
export const SLOT_BYTES: number = SLOT_WORDS * Int32Array.BYTES_PER_ELEMENT;

/** No slot: of a task that its machine runs without one. */
export const NO_SLOT = -1;

export const FREE = 0;
export const QUEUED = 2;
export const RUNNING = 3;
export const DONE = 4;
export const FAILED = 5;

/** `claim` returns this when the entry was stale; no claimed state is 0. */
export const NOT_CLAIMED = 0;

const STATE = 0;
const META = 1;
const ARGUMENT_BLOCK = 2;
const ARGUMENT_BYTES = 3;
const HEADER_BYTES = 4;
const RESULT = 5;
const RESULT_PLACE = 6;
const RESULT_BYTES = 7;
const ARGUMENT_NUMBER = 8;
const RESULT_NUMBER = 10;
const CANCEL = 12;
const DEADLINE = 13;
const TIME = 14;
const CRASHES = 15;

const STATE_MASK = 0xf;
const MACHINE_SHIFT = 4;
const MACHINE_MASK = 0xff;
const ATTEMPT_SHIFT = 12;
const ATTEMPT_MASK = 0xf;
const GENERATION_SHIFT = 16;
const GENERATION_MASK: number = -1 << GENERATION_SHIFT;
/** Keeps attempt and generation. */
const HISTORY_MASK = ~0xfff;

const HANDLER_MASK = 0xfff;
const PRIORITY_SHIFT = 12;
const PRIORITY_MASK = 0x3;
const RETRY_CRASH: number = 1 << 19;
const RETRY_ERROR: number = 1 << 20;
const ATTEMPTS_SHIFT = 21;
const ATTEMPTS_MASK = 0xf;
const TIMED: number = 1 << 25;
const ALONE: number = 1 << 26;
const KIND_SHIFT = 27;
const KIND_MASK = 0xf;

const CRASH_COUNT_MASK = 0x3;

/** Handlers in one module: twelve bits. */
export const HANDLERS_MAX: number = HANDLER_MASK + 1;
/** Attempts are counted in four bits. */
export const ATTEMPTS_MAX: number = ATTEMPT_MASK;
/** A task that killed this many machines is not tried again. */
export const CRASHES_MAX = 3;

/** The policy of a task after a failure, as bits of META: see `taskPolicy`. */
export const NO_RETRY = 0;

/**
 * The bits of META that say when and how often a task may run again, and whether its times matter.
 */
export function taskPolicy(afterCrash: boolean, afterError: boolean, attemptsMax: number, isTimed: boolean): number {
  return (
    (afterCrash ? RETRY_CRASH : 0) |
    (afterError ? RETRY_ERROR : 0) |
    (attemptsMax << ATTEMPTS_SHIFT) |
    (isTimed ? TIMED : 0)
  );
}

/** Whether a task may run again, after a death or an error. */
export function isRetryPolicy(policy: number): boolean {
  return (policy & (RETRY_CRASH | RETRY_ERROR)) !== 0;
}

export function isTimedPolicy(policy: number): boolean {
  return (policy & TIMED) !== 0;
}

/** Number of times that the task was started before, by its state. */
export function attemptOf(state: number): number {
  return (state >> ATTEMPT_SHIFT) & ATTEMPT_MASK;
}

/** Generation and attempt in one number: tells apart the runs in one slot. */
export function runOf(state: number): number {
  return state >>> ATTEMPT_SHIFT;
}

/** The same, made from its parts. */
export function runNumber(generation: number, attempt: number): number {
  return (generation << (GENERATION_SHIFT - ATTEMPT_SHIFT)) | attempt;
}

/** A view of the table; each thread makes its own. */
export class TaskTable {
  readonly #words: Int32Array;
  readonly #numbers: Float64Array;
  readonly count: number;

  constructor(slots: SharedArrayBuffer, count: number) {
    this.#words = new Int32Array(slots);
    this.#numbers = new Float64Array(slots);
    this.count = count;
    invariant(this.#words.length >= count * SLOT_WORDS, "the task table holds all slots");
  }

  // ── state ─────────────────────────────────────────────────────────────────────────────────────

  /**
   * Machine: from QUEUED to RUNNING. Returns the new state, or `NOT_CLAIMED` when the entry was
   * stale: somebody else has the task, or it is over.
   */
  claim(slot: number, machine: number): number {
    const word = slot * SLOT_WORDS + STATE;
    const state = Atomics.load(this.#words, word);
    if ((state & STATE_MASK) !== QUEUED) return NOT_CLAIMED;
    const running = (state & HISTORY_MASK) | (machine << MACHINE_SHIFT) | RUNNING;
    return Atomics.compareExchange(this.#words, word, state, running) === state ? running : NOT_CLAIMED;
  }

  /**
   * As `claim`, by the submitter itself of a task that it has just queued with this generation: no
   * need to look first.
   */
  claimOwn(slot: number, machine: number, generation: number): number {
    const queued = (generation << GENERATION_SHIFT) | QUEUED;
    const running = (generation << GENERATION_SHIFT) | (machine << MACHINE_SHIFT) | RUNNING;
    const word = slot * SLOT_WORDS + STATE;
    return Atomics.compareExchange(this.#words, word, queued, running) === queued ? running : NOT_CLAIMED;
  }

  /**
   * Submitter: takes the task back and frees its slot, unless a machine has it already. Returns
   * whether it did. The generation moves on.
   */
  cancel(slot: number): boolean {
    const word = slot * SLOT_WORDS + STATE;
    const state = Atomics.load(this.#words, word);
    if ((state & STATE_MASK) !== QUEUED) return false;
    const freed = ((state & GENERATION_MASK) + (1 << GENERATION_SHIFT)) | 0 | FREE;
    return Atomics.compareExchange(this.#words, word, state, freed) === state;
  }

  /** Machine: the result is written. `running` is what `claim` returned. */
  finish(slot: number, running: number, ok: boolean): void {
    Atomics.store(this.#words, slot * SLOT_WORDS + STATE, (running & ~STATE_MASK) | (ok ? DONE : FAILED));
  }

  /** Machine: the task that it runs shall run again. */
  retry(slot: number, running: number): void {
    Atomics.store(this.#words, slot * SLOT_WORDS + STATE, afterAttempt(running) | QUEUED);
  }

  /** Machine: the task that it claimed was not begun; somebody else may have it. */
  unclaim(slot: number, running: number): void {
    Atomics.store(this.#words, slot * SLOT_WORDS + STATE, (running & HISTORY_MASK) | QUEUED);
  }

  /** Submitter: the slot is filled, any machine may take it. */
  enqueue(slot: number, generation: number): void {
    Atomics.store(this.#words, slot * SLOT_WORDS + STATE, (generation << GENERATION_SHIFT) | QUEUED);
  }

  /** Submitter: the outcome was read; the slot is free for another task, of this generation. */
  free(slot: number, generation: number): void {
    Atomics.store(this.#words, slot * SLOT_WORDS + STATE, (generation << GENERATION_SHIFT) | FREE);
  }

  /** Supervisor, once the machine's thread is gone: lets the task run again. */
  requeue(slot: number): void {
    const word = slot * SLOT_WORDS + STATE;
    Atomics.store(this.#words, word, afterAttempt(Atomics.load(this.#words, word)) | QUEUED);
  }

  /** Supervisor, once the machine's thread is gone: the task is over. */
  fail(slot: number): void {
    const word = slot * SLOT_WORDS + STATE;
    Atomics.store(this.#words, word, (Atomics.load(this.#words, word) & ~STATE_MASK) | FAILED);
  }

  state(slot: number): number {
    return Atomics.load(this.#words, slot * SLOT_WORDS + STATE) & STATE_MASK;
  }

  /** State, machine, attempt and generation. */
  stateWord(slot: number): number {
    return Atomics.load(this.#words, slot * SLOT_WORDS + STATE);
  }

  /**
   * RUNNING, DONE or FAILED when `machine` runs or ran the task; FREE otherwise. One look at the
   * slot: between two, it could be freed and used again, and pass for the machine's.
   */
  stateUnder(slot: number, machine: number): number {
    const word = Atomics.load(this.#words, slot * SLOT_WORDS + STATE);
    const state = word & STATE_MASK;
    const isSettledOrRunning = state === RUNNING || state === DONE || state === FAILED;
    return isSettledOrRunning && ((word >> MACHINE_SHIFT) & MACHINE_MASK) === machine ? state : FREE;
  }

  /** The machine that runs or ran the task. */
  machine(slot: number): number {
    return (Atomics.load(this.#words, slot * SLOT_WORDS + STATE) >> MACHINE_SHIFT) & MACHINE_MASK;
  }

  /** Number of times that the task was started before, 0 at first. */
  attempt(slot: number): number {
    return attemptOf(Atomics.load(this.#words, slot * SLOT_WORDS + STATE));
  }

  generation(slot: number): number {
    return Atomics.load(this.#words, slot * SLOT_WORDS + STATE) >>> GENERATION_SHIFT;
  }

  // ── while it runs ─────────────────────────────────────────────────────────────────────────────

  /** Submitter: no result is wanted any more. */
  askToStop(slot: number): void {
    Atomics.store(this.#words, slot * SLOT_WORDS + CANCEL, 1);
  }

  /** Machine: whether a result is still wanted. */
  isAskedToStop(slot: number): boolean {
    return Atomics.load(this.#words, slot * SLOT_WORDS + CANCEL) !== 0;
  }

  // ── what the submitter writes before QUEUED ───────────────────────────────────────────────────

  /**
   * `policy` is made by `taskPolicy`; `time` is µs since the epoch, or 0; `deadline` ms since the
   * epoch, or 0.
   */
  describe(slot: number, handler: number, priority: number, policy: number, kind: number): void {
    const base = slot * SLOT_WORDS;
    this.#words[base + META] = handler | (priority << PRIORITY_SHIFT) | policy | (kind << KIND_SHIFT);
    this.#words[base + CANCEL] = 0;
    this.#words[base + CRASHES] = 0;
  }

  setTimes(slot: number, time: number, deadline: number): void {
    this.#words[slot * SLOT_WORDS + TIME] = time;
    this.#words[slot * SLOT_WORDS + DEADLINE] = deadline === 0 ? 0 : deadline | 0 || 1;
  }

  setArgument(slot: number, block: number, bytes: number, headerBytes: number): void {
    const base = slot * SLOT_WORDS;
    this.#words[base + ARGUMENT_BLOCK] = block;
    this.#words[base + ARGUMENT_BYTES] = bytes;
    this.#words[base + HEADER_BYTES] = headerBytes;
  }

  setArgumentNumber(slot: number, value: number): void {
    this.#numbers[(slot * SLOT_WORDS + ARGUMENT_NUMBER) >> 1] = value;
  }

  handler(slot: number): number {
    return (this.#words[slot * SLOT_WORDS + META] as number) & HANDLER_MASK;
  }

  priority(slot: number): number {
    return ((this.#words[slot * SLOT_WORDS + META] as number) >> PRIORITY_SHIFT) & PRIORITY_MASK;
  }

  argumentKind(slot: number): number {
    return ((this.#words[slot * SLOT_WORDS + META] as number) >> KIND_SHIFT) & KIND_MASK;
  }

  /**
   * Whether nothing about the task needs attention before it is run: neither timed, nor to be
   * alone, nor with a parcel.
   */
  isPlain(slot: number): boolean {
    const meta = this.#words[slot * SLOT_WORDS + META] as number;
    return (meta & (TIMED | ALONE)) === 0 && ((meta >> KIND_SHIFT) & KIND_MASK) !== PARCEL;
  }

  isTimed(slot: number): boolean {
    return ((this.#words[slot * SLOT_WORDS + META] as number) & TIMED) !== 0;
  }

  isToBeAlone(slot: number): boolean {
    return ((this.#words[slot * SLOT_WORDS + META] as number) & ALONE) !== 0;
  }

  /**
   * Whether the policy of the task that is in state `state` allows another attempt after an error
   * of its handler.
   */
  mayRetryAfterError(slot: number, state: number): boolean {
    const meta = this.#words[slot * SLOT_WORDS + META] as number;
    return (meta & RETRY_ERROR) !== 0 && attemptOf(state) + 1 < ((meta >> ATTEMPTS_SHIFT) & ATTEMPTS_MASK);
  }

  /** Whether it allows another attempt after a death, leaving aside how many machines it killed. */
  mayRetryAfterCrash(slot: number, state: number): boolean {
    const meta = this.#words[slot * SLOT_WORDS + META] as number;
    return (meta & RETRY_CRASH) !== 0 && attemptOf(state) + 1 < ((meta >> ATTEMPTS_SHIFT) & ATTEMPTS_MASK);
  }

  argumentBlock(slot: number): number {
    return this.#words[slot * SLOT_WORDS + ARGUMENT_BLOCK] as number;
  }

  argumentBytes(slot: number): number {
    return this.#words[slot * SLOT_WORDS + ARGUMENT_BYTES] as number;
  }

  headerBytes(slot: number): number {
    return this.#words[slot * SLOT_WORDS + HEADER_BYTES] as number;
  }

  argumentNumber(slot: number): number {
    return this.#numbers[(slot * SLOT_WORDS + ARGUMENT_NUMBER) >> 1] as number;
  }

  time(slot: number): number {
    return this.#words[slot * SLOT_WORDS + TIME] as number;
  }

  deadline(slot: number): number {
    return this.#words[slot * SLOT_WORDS + DEADLINE] as number;
  }

  // ── what the machine writes before DONE or FAILED ─────────────────────────────────────────────

  /** Machine, of a timed task: when it was started. */
  setStarted(slot: number, time: number): void {
    Atomics.store(this.#words, slot * SLOT_WORDS + TIME, time | 0 || 1);
  }

  /**
   * Submitter, of a timed task that runs: when it was started, 0 when the machine hasn't said yet.
   */
  started(slot: number): number {
    return Atomics.load(this.#words, slot * SLOT_WORDS + TIME);
  }

  setResult(slot: number, kind: number, place: number, bytes: number): void {
    const base = slot * SLOT_WORDS;
    this.#words[base + RESULT] = kind;
    this.#words[base + RESULT_PLACE] = place;
    this.#words[base + RESULT_BYTES] = bytes;
  }

  /** A result that is a constant or a number: nothing of it lies elsewhere. */
  setInlineResult(slot: number, kind: number): void {
    this.#words[slot * SLOT_WORDS + RESULT] = kind;
  }

  setResultNumber(slot: number, value: number): void {
    this.#numbers[(slot * SLOT_WORDS + RESULT_NUMBER) >> 1] = value;
  }

  resultKind(slot: number): number {
    return this.#words[slot * SLOT_WORDS + RESULT] as number;
  }

  resultPlace(slot: number): number {
    return this.#words[slot * SLOT_WORDS + RESULT_PLACE] as number;
  }

  resultBytes(slot: number): number {
    return this.#words[slot * SLOT_WORDS + RESULT_BYTES] as number;
  }

  resultNumber(slot: number): number {
    return this.#numbers[(slot * SLOT_WORDS + RESULT_NUMBER) >> 1] as number;
  }

  // ── what the supervisor writes after a death ──────────────────────────────────────────────────

  /** The machine died while this task was the only one that it ran. */
  blame(slot: number, machine: number): void {
    const word = slot * SLOT_WORDS + CRASHES;
    const crashes = this.#words[word] as number;
    const count = crashes & CRASH_COUNT_MASK;
    this.#words[word] = (crashes & ~CRASH_COUNT_MASK) | (machine << (2 + 8 * count)) | (count + 1);
  }

  /** From now on no other task runs on the machine beside this one. */
  isolate(slot: number): void {
    const word = slot * SLOT_WORDS + META;
    this.#words[word] = (this.#words[word] as number) | ALONE;
  }

  /** The machines that died under this task while it ran alone. */
  crashedMachines(slot: number): number[] {
    const crashes = this.#words[slot * SLOT_WORDS + CRASHES] as number;
    return Array.from(
      { length: crashes & CRASH_COUNT_MASK },
      (_, index) => (crashes >> (2 + 8 * index)) & MACHINE_MASK,
    );
  }
}

/**
 * The history of a task whose attempt in state `state` is over; the next one is about to be queued.
 */
function afterAttempt(state: number): number {
  const attempt = Math.min(attemptOf(state) + 1, ATTEMPTS_MAX);
  return (state & GENERATION_MASK) | (attempt << ATTEMPT_SHIFT);
}
