/**
 * Looks at the processors from outside, as Go's sysmon does. A processor whose handler runs for
 * long is stuck: the tasks that only its machine could reach (the next one, its private entries)
 * are queued anew, so that other machines find them.
 *
 * Runs on the opener's thread: every `LOOK_MS` while tasks run or settle, otherwise at growing
 * intervals. Its timer never keeps the process alive.
 */
import { clearTimeout, performance, setTimeout } from "@millrace/base";
import type { Shared } from "../shared/shared.ts";
import type { Processors } from "../shared/processors.ts";
import { LongRun } from "./long-run.ts";
import type { Recovery } from "./recovery.ts";

/** Go's forcePreemptNS. */
const LOOK_MS = 10;
/** After this many looks without progress the pauses grow, up to PAUSE_MS_MAX. */
const QUIET_LOOKS = 100;
const PAUSE_MS_MAX = 1000;
/** A handler that holds its thread for longer than this is reported to `onLong`. */
const HINT_MS = 100;

interface Watch {
  tick: number;
  owner: number;
  /** When the tick was first seen, ms. */
  since: number;
  readonly run: LongRun;
  /** The number of the handler that runs, -1 without. */
  handler: number;
  isRescued: boolean;
}

export class Watchdog {
  readonly #shared: Shared;
  readonly #processors: Processors;
  readonly #recovery: Recovery;
  readonly #onLong: (handler: number, ms: number) => void;
  readonly #waitedMs: (machine: number) => number;
  readonly #watches: Watch[];
  #timer: NodeJS.Timeout | undefined;
  #quiet = 0;
  #isStopped = false;
  /** How often the tasks of a stuck processor were queued anew. */
  rescues = 0;

  /**
   * `waitedMs`: for how long a machine's thread has been ready and had no processor of the system.
   */
  constructor(
    shared: Shared,
    recovery: Recovery,
    onLong: (handler: number, ms: number) => void,
    waitedMs: (machine: number) => number,
  ) {
    this.#shared = shared;
    this.#processors = shared.processors();
    this.#recovery = recovery;
    this.#onLong = onLong;
    this.#waitedMs = waitedMs;
    this.#watches = Array.from({ length: this.#processors.count }, () => ({
      tick: 0,
      owner: -1,
      since: performance.now(),
      run: new LongRun(),
      handler: -1,
      isRescued: false,
    }));
    this.#lookIn(LOOK_MS);
  }

  /** Whether some handler runs for so long that a standstill is no sign of a lost task. */
  get isAnyStuck(): boolean {
    return this.#watches.some((watch) => watch.isRescued);
  }

  /** A task was submitted: looks at short intervals again. */
  wake(): void {
    if (this.#quiet < QUIET_LOOKS || this.#isStopped) return;
    this.#quiet = 0;
    clearTimeout(this.#timer);
    this.#lookIn(LOOK_MS);
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #lookIn(ms: number): void {
    this.#timer = setTimeout(() => this.#look(), ms).unref();
  }

  #look(): void {
    const now = performance.now();
    this.#quiet += 1;
    for (let processor = 0; processor < this.#watches.length; processor += 1) this.#lookAt(processor, now);
    const over = Math.max(0, this.#quiet - QUIET_LOOKS);
    if (!this.#isStopped) this.#lookIn(Math.min(LOOK_MS + over * LOOK_MS, PAUSE_MS_MAX));
  }

  #lookAt(processor: number, now: number): void {
    const watch = this.#watches[processor] as Watch;
    const tick = this.#processors.tick(processor);
    const owner = this.#processors.owner(processor);
    if (tick !== watch.tick || owner !== watch.owner) {
      this.#quiet = 0;
      // A machine that died, or gave its processor away to wait, was not running a long handler.
      if (watch.handler >= 0 && owner === watch.owner && watch.run.ms >= HINT_MS)
        this.#onLong(watch.handler, watch.run.ms);
      watch.tick = tick;
      watch.owner = owner;
      watch.since = now;
      watch.run.begin(now);
      watch.isRescued = false;
      watch.handler = (tick & 1) === 1 ? this.#processors.runningHandler(processor) : -1;
      return;
    }
    if ((tick & 1) === 0 || owner < 0) return;
    this.#quiet = 0;
    watch.run.look(now, this.#waitedMs(owner));
    if (now - watch.since < LOOK_MS / 2 || watch.isRescued) return;
    watch.isRescued = true;
    this.#rescue(processor);
  }

  #rescue(processor: number): void {
    const hadNext = this.#recovery.takeNext(processor);
    const found = this.#recovery.sweep();
    if (!hadNext && found === 0) return;
    this.rescues += 1;
    this.#shared.idleSet().wakeOne();
  }
}
