/**
 * Calls with promises, for a thread with an event loop: what `run` and `runMany` do.
 *
 * A call beyond the table's slots waits on this thread's heap, encoded, so that later changes of the value don't matter; the calls
 * of higher priority leave it first. The values of a list stay where they are and are encoded when their turn comes.
 */
import { encode } from "@millrace/codec";
import { isMillraceError } from "@millrace/base";
import type { Reactor, Source } from "@millrace/atomics-sync";
import { FULL } from "@millrace/shared-memory";
import { schedulerError } from "../errors.ts";
import type { CallOptions } from "./call-options.ts";
import { LimitedCall } from "./limited-call.ts";
import { CallList } from "./call-list.ts";
import { PRIORITIES } from "../shared/priorities.ts";
import { ResultRate } from "./result-rate.ts";
import { Parcels } from "./parcels.ts";
import { type OutcomeSink, type Submitter } from "./submitter.ts";
import { isRetryPolicy } from "../shared/task-table.ts";
import { BYTES, kindOf, PARCEL } from "../shared/values.ts";

/** Outcomes handled in one turn of the event loop, so that timers and sockets get theirs. */
const DRAIN_MAX = 1024;

/** Tasks of a list that are published together: so that a machine begins while the others are submitted. */
const PUBLISH_EVERY = 64;

type Settle = (value: unknown) => void;

interface WaitingCall {
  readonly handler: number;
  readonly options: CallOptions;
  readonly bytes: Uint8Array | undefined;
  readonly value: unknown;
  /** -1 without. */
  readonly parcel: number;
  readonly deadline: number;
  readonly resolve: Settle;
  readonly reject: Settle;
  readonly limited: LimitedCall | undefined;
}

/** Tells what became of a result that was sent by message. */
export type TakeParcel = (machine: number, ticket: number, settle: Settle) => void;

/** How this thread waits for outcomes. */
export interface Waits {
  /** How long it polls after the last outcome before it sleeps. */
  readonly pollMs: number;
  /** How long it looks for outcomes without a turn of its event loop after a call. */
  readonly spinMs: number;
  /** Whether outcomes may lie while there are many calls (result-rate.ts). */
  readonly mayRest: boolean;
}

export class Calls implements Source, OutcomeSink {
  readonly pollMs: number;
  readonly parcels: Parcels = new Parcels();
  readonly #submitter: Submitter;
  readonly #reactor: Reactor;
  readonly #takeParcel: TakeParcel;
  readonly #spinMs: number;
  readonly #resolves: (Settle | undefined)[];
  readonly #rejects: (Settle | undefined)[];
  /** By slot: the list it belongs to, and its place there. */
  readonly #lists: (CallList | undefined)[];
  readonly #places: Int32Array;
  readonly #limited: (LimitedCall | undefined)[];
  /** By priority, each from its cursor on. */
  readonly #waiting: (WaitingCall | CallList)[][] = Array.from({ length: PRIORITIES }, () => []);
  readonly #waitingFrom = new Int32Array(PRIORITIES);
  #waitingCalls = 0;
  /** What rejects the calls whose slot is free and whose outcome is still on its way by message. */
  readonly #parcelsAwaited = new Set<Settle>();
  #isClosed = false;
  #whenIdle: (() => void) | undefined;
  #isSpinDue = false;
  readonly #mayRest: boolean;
  readonly #rate = new ResultRate();
  readonly #spinBound = (): void => this.#spin();

  constructor(submitter: Submitter, reactor: Reactor, waits: Waits, takeParcel: TakeParcel) {
    this.pollMs = waits.pollMs;
    this.#submitter = submitter;
    this.#reactor = reactor;
    this.#spinMs = waits.spinMs;
    this.#mayRest = waits.mayRest;
    this.#takeParcel = takeParcel;
    this.#resolves = new Array<Settle | undefined>(submitter.capacity).fill(undefined);
    this.#rejects = new Array<Settle | undefined>(submitter.capacity).fill(undefined);
    this.#lists = new Array<CallList | undefined>(submitter.capacity).fill(undefined);
    this.#places = new Int32Array(submitter.capacity);
    this.#limited = new Array<LimitedCall | undefined>(submitter.capacity).fill(undefined);
    reactor.add(this);
  }

  /** Calls under way, and those that wait for a slot. */
  get outstanding(): number {
    return this.#submitter.outstanding + this.#waitingCalls + this.#parcelsAwaited.size;
  }

  call(handler: number, options: CallOptions, value: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) throw closedError();
      if (this.#waitingCalls > 0 || options.limits !== undefined || options.transferList !== undefined) {
        this.#callSlowly(handler, options, value, resolve, reject);
        return;
      }
      let slot: number;
      try {
        slot =
          options.kind === BYTES
            ? this.#submitter.submit(handler, options.priority, options.policy, 0, value)
            : this.#submitter.submitEncoded(handler, options.priority, options.policy, 0, options.kind, encode(value));
      } catch (thrown) {
        this.#refused(handler, options, value, resolve, reject, thrown);
        return;
      }
      if (slot === FULL) {
        this.#callSlowly(handler, options, value, resolve, reject);
        return;
      }
      this.#resolves[slot - this.#submitter.firstSlot] = resolve;
      this.#rejects[slot - this.#submitter.firstSlot] = reject;
      this.#submitter.publish();
      this.#expect();
    });
  }

  /** One call per value, published together; the results in the order of the values, or the first error once all are over. */
  callMany(handler: number, options: CallOptions, values: ArrayLike<unknown>): Promise<unknown[]> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) throw closedError();
      const list = new CallList(handler, options, values, resolve, reject);
      if (list.isOver) return;
      this.#wait(list, options.priority, values.length);
      this.#submitWaiting();
      this.#expect();
    });
  }

  poll(): number {
    const drained = this.#submitter.drain(this, DRAIN_MAX);
    // The clock is read for that alone, and a lone call feels it.
    if (this.#mayRest) this.#rate.count(drained, performance.now());
    if (drained > 0 && this.#waitingCalls > 0) this.#submitWaiting();
    if (drained > 0 && this.outstanding === 0) this.#whenIdle?.();
    return drained;
  }

  isExpecting(): boolean {
    return this.outstanding > 0;
  }

  restMs(): number {
    const isUrgent = this.#submitter.urgent > 0 || (this.#waiting[0] as unknown[]).length > 0;
    if (!this.#mayRest || isUrgent || this.#submitter.isAnyoneIdle()) return 0;
    return this.#rate.restMs(this.#submitter.waiting());
  }

  settled(slot: number): void {
    const call = slot - this.#submitter.firstSlot;
    const list = this.#lists[call];
    const isOk = this.#submitter.isOk(slot);
    if (list !== undefined) {
      this.#lists[call] = undefined;
      const place = this.#places[call] as number;
      if (this.#submitter.table.resultKind(slot) !== PARCEL) list.settled(place, isOk, this.#submitter, slot);
      else
        this.#awaitParcel(
          slot,
          (value) => list.arrived(place, isOk, value),
          (error) => list.failed(error),
        );
      return;
    }
    const limited = this.#limited[call];
    if (limited !== undefined) {
      this.#limited[call] = undefined;
      limited.settled();
    }
    const settle = (isOk ? this.#resolves[call] : this.#rejects[call]) as Settle;
    if (this.#submitter.table.argumentKind(slot) === PARCEL) {
      this.parcels.drop(this.#submitter.table.argumentNumber(slot));
    }
    if (this.#submitter.table.resultKind(slot) === PARCEL) {
      this.#awaitParcel(slot, settle, this.#rejects[call] as Settle);
      return;
    }
    let value: unknown;
    try {
      value = this.#submitter.value(slot);
    } catch (thrown) {
      (this.#rejects[call] as Settle)(thrown);
      return;
    }
    settle(value);
  }

  /** Takes no more calls; resolves when those under way are settled. */
  async drain(): Promise<void> {
    this.#isClosed = true;
    if (this.outstanding > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    this.#reactor.remove(this);
  }

  /** Rejects what is still under way; the machines are gone. */
  abandon(): void {
    this.#isClosed = true;
    const error = schedulerError("ERR_SCHEDULER_CLOSED", "the runtime was terminated before the task was over");
    for (const limited of this.#limited) limited?.end();
    for (const list of new Set(this.#lists)) list?.abandon(error);
    for (const reject of this.#rejects) reject?.(error);
    for (const reject of this.#parcelsAwaited) reject(error);
    this.#parcelsAwaited.clear();
    for (const list of this.#waiting) {
      for (const call of list.splice(0)) {
        if (call instanceof CallList) call.abandon(error);
        else {
          call.limited?.end();
          call.reject(error);
        }
      }
    }
    this.#waitingFrom.fill(0);
    this.#waitingCalls = 0;
    this.parcels.clear();
    this.#whenIdle?.();
    this.#reactor.remove(this);
  }

  #expect(): void {
    this.#reactor.expect();
    if (this.#spinMs === 0 || this.#isSpinDue) return;
    this.#isSpinDue = true;
    queueMicrotask(this.#spinBound);
  }

  /** Looks for outcomes until there are some or the budget is used up. In a microtask: after the caller's own code. */
  #spin(): void {
    this.#isSpinDue = false;
    const end = performance.now() + this.#spinMs;
    do {
      for (let look = 0; look < 32; look += 1) {
        if (!this.#submitter.hasOutcomes()) continue;
        this.poll();
        return;
      }
    } while (performance.now() < end && this.outstanding > 0);
  }

  // ── calls that wait, are limited, or carry what bytes can't ──────────────────────────────────────────────────────

  /** The value can't be encoded: a parcel, if structured clone takes it. */
  #refused(
    handler: number,
    options: CallOptions,
    value: unknown,
    resolve: Settle,
    reject: Settle,
    reason: unknown,
  ): void {
    if (!isMillraceError(reason, "ERR_VALUE_UNSUPPORTED") || options.kind !== BYTES) {
      reject(reason);
      return;
    }
    try {
      this.#callSlowly(handler, { ...options, transferList: [] }, value, resolve, reject);
    } catch {
      reject(reason);
    }
  }

  #callSlowly(handler: number, options: CallOptions, value: unknown, resolve: Settle, reject: Settle): void {
    const { limits, transferList, policy, priority, kind } = options;
    let parcel = -1;
    let bytes: Uint8Array | undefined;
    if (transferList !== undefined) parcel = this.parcels.add(value, transferList, isRetryPolicy(policy));
    else if (kind !== BYTES || kindOf(value) < 0) {
      try {
        bytes = Uint8Array.from(encode(value));
      } catch (thrown) {
        this.#refused(handler, options, value, resolve, reject, thrown);
        return;
      }
    }
    const limited = limits === undefined ? undefined : new LimitedCall(limits, this.#submitter, reject);
    if (limited?.isOver === true) {
      this.parcels.drop(parcel);
      return;
    }
    const deadline = limited?.deadline ?? 0;
    this.#wait({ handler, options, bytes, value, parcel, deadline, resolve, reject, limited }, priority, 1);
    limited?.start(
      (slot) => this.#freed(slot),
      () => this.#leftWaiting(),
    );
    this.#submitWaiting();
    this.#expect();
  }

  #wait(call: WaitingCall | CallList, priority: number, calls: number): void {
    (this.#waiting[priority] as (WaitingCall | CallList)[]).push(call);
    this.#waitingCalls += calls;
  }

  /** A limited call was taken back before any machine had it. */
  #freed(slot: number): void {
    this.#limited[slot - this.#submitter.firstSlot] = undefined;
    if (this.#submitter.table.argumentKind(slot) === PARCEL) {
      this.parcels.drop(this.#submitter.table.argumentNumber(slot));
    }
    this.#submitWaiting();
    this.#wentIdle();
  }

  /** A limited call ended while it waited on the heap; its entry is passed over when its turn comes. */
  #leftWaiting(): void {
    this.#submitWaiting();
    this.#wentIdle();
  }

  /** The outcome of a task comes by message; until then the call counts as under way. */
  #awaitParcel(slot: number, settle: Settle, reject: Settle): void {
    const { table } = this.#submitter;
    this.#parcelsAwaited.add(reject);
    this.#takeParcel(table.machine(slot), table.resultNumber(slot), (value) => {
      this.#parcelsAwaited.delete(reject);
      settle(value);
      this.#wentIdle();
    });
  }

  #wentIdle(): void {
    if (this.outstanding > 0) return;
    this.#whenIdle?.();
    this.#reactor.check();
  }

  #submitWaiting(): void {
    let hasRoom = true;
    for (let priority = 0; priority < PRIORITIES && hasRoom; priority += 1) hasRoom = this.#submitFrom(priority);
    this.#submitter.publish();
  }

  /** False when a call found no slot. */
  #submitFrom(priority: number): boolean {
    const list = this.#waiting[priority] as (WaitingCall | CallList)[];
    let from = this.#waitingFrom[priority] as number;
    let hasRoom = true;
    // Ends: every turn takes an entry off the list or stops.
    while (from < list.length) {
      const entry = list[from] as WaitingCall | CallList;
      hasRoom = entry instanceof CallList ? this.#submitList(entry) : this.#submitOne(entry);
      if (!hasRoom) break;
      from += 1;
    }
    // Forgets what was submitted, in steps that cost a constant per call.
    if (from > 1024 ? from * 2 > list.length : from === list.length) {
      list.splice(0, from);
      from = 0;
    }
    this.#waitingFrom[priority] = from;
    return hasRoom;
  }

  #submitList(list: CallList): boolean {
    const { handler, options } = list;
    // Ends: every turn takes a value out of the list or stops.
    while (list.next < list.values.length) {
      const place = list.next;
      let slot: number;
      try {
        slot = this.#submitter.submit(handler, options.priority, options.policy, 0, list.values[place]);
      } catch (thrown) {
        list.next += 1;
        this.#waitingCalls -= 1;
        list.failed(thrown);
        continue;
      }
      if (slot === FULL) return false;
      list.next += 1;
      this.#waitingCalls -= 1;
      const call = slot - this.#submitter.firstSlot;
      this.#lists[call] = list;
      this.#places[call] = place;
      if (list.next % PUBLISH_EVERY === 0) this.#submitter.publish();
    }
    return true;
  }

  #submitOne(call: WaitingCall): boolean {
    const { handler, options, bytes, value, parcel, deadline, resolve, reject, limited } = call;
    const { priority, policy, kind } = options;
    if (limited?.isOver === true) {
      this.#waitingCalls -= 1;
      this.parcels.drop(parcel);
      return true;
    }
    let slot: number;
    try {
      if (parcel >= 0) slot = this.#submitter.submitParcel(handler, priority, policy, deadline, parcel);
      else if (bytes === undefined) slot = this.#submitter.submit(handler, priority, policy, deadline, value);
      else slot = this.#submitter.submitEncoded(handler, priority, policy, deadline, kind, bytes);
    } catch (thrown) {
      this.#waitingCalls -= 1;
      limited?.end();
      reject(thrown);
      return true;
    }
    if (slot === FULL) return false;
    this.#waitingCalls -= 1;
    const index = slot - this.#submitter.firstSlot;
    this.#resolves[index] = resolve;
    this.#rejects[index] = reject;
    this.#limited[index] = limited;
    limited?.submitted(slot);
    return true;
  }
}

function closedError(): Error {
  return schedulerError("ERR_SCHEDULER_CLOSED", "the runtime is closed");
}
