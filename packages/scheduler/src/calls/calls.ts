/**
 * Calls with promises, for a thread with an event loop: what `run` and `runMany` do.
 *
 * A call beyond the table's slots waits on this thread's heap. Its argument is encoded at the call,
 * so that later changes of the value don't matter.
 */
import { encode, encodeCopy } from "@millrace/codec";
import { isMillraceError, performance, queueMicrotask } from "@millrace/base";
import type { Reactor, Source } from "@millrace/atomics-sync";
import { FULL } from "@millrace/shared-memory";
import { schedulerError } from "../errors.ts";
import { CallList } from "./call-list.ts";
import type { CallOptions } from "./call-options.ts";
import { type CallOwner, type Settle, SingleCall } from "./call-owner.ts";
import { checkedTransferList, detach, isCopiedInstead } from "./transfer-list.ts";
import { LimitedCall } from "./limited-call.ts";
import { Parcels } from "./parcels.ts";
import { ResultRate } from "./result-rate.ts";
import type { OutcomeSink, Submitter } from "./submitter.ts";
import { type WaitingCall, WaitingLine } from "./waiting-line.ts";
import { isRetryPolicy } from "../shared/task-table.ts";
import { BYTES, kindOf, PARCEL } from "../shared/values.ts";

/** Outcomes handled in one turn of the event loop, so that timers and sockets get theirs. */
const DRAIN_MAX = 1024;

/** Calls of a list that are published together: a machine begins while the others are submitted. */
const PUBLISH_EVERY = 64;

/** Asks for a result that is sent by message; `settle` gets it, at once or later. */
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
  readonly #beforeTold: () => void;
  readonly #spinMs: number;
  /** By slot, while its task is under way: whose call it is, and its place there. */
  readonly #owners: (CallOwner | undefined)[];
  readonly #places: Int32Array;
  readonly #waiting = new WaitingLine();
  /** The calls whose slot is free and whose outcome is still on its way by message. */
  readonly #parcelsAwaited = new Set<ParcelAwaited>();
  #isClosed = false;
  #whenIdle: (() => void) | undefined;
  #isSpinDue = false;
  readonly #mayRest: boolean;
  readonly #rate = new ResultRate();
  readonly #spinBound = (): void => this.#spin();
  readonly #submitBound = (call: WaitingCall): boolean => this.#submit(call);

  /** `beforeTold` is called when outcomes were read and no promise's callback has run yet. */
  constructor(
    submitter: Submitter,
    reactor: Reactor,
    waits: Waits,
    takeParcel: TakeParcel,
    beforeTold: () => void = () => {},
  ) {
    this.pollMs = waits.pollMs;
    this.#submitter = submitter;
    this.#reactor = reactor;
    this.#spinMs = waits.spinMs;
    this.#mayRest = waits.mayRest;
    this.#takeParcel = takeParcel;
    this.#beforeTold = beforeTold;
    this.#owners = new Array<CallOwner | undefined>(submitter.slots.capacity).fill(undefined);
    this.#places = new Int32Array(submitter.slots.capacity);
    reactor.add(this);
  }

  /** Calls under way, and those that wait for a slot. */
  get outstanding(): number {
    return this.#submitter.slots.outstanding + this.#waiting.length + this.#parcelsAwaited.size;
  }

  call(handler: number, options: CallOptions, value: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) throw closedError();
      const call = new SingleCall(resolve, reject);
      if (options.limits !== undefined) this.#callLimited(call, handler, options, value);
      else if (this.#place(call, 0, handler, options, value)) this.#submitter.publish();
      else this.#submitWaiting();
      this.#expect();
    });
  }

  /**
   * One call per value, published together; the results in the order of the values, or the first
   * error once all are over.
   */
  callMany(handler: number, options: CallOptions, values: readonly unknown[]): Promise<unknown[]> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) throw closedError();
      const { length } = values;
      if (length === 0) {
        resolve([]);
        return;
      }
      const list = new CallList(length, resolve as Settle, reject);
      for (let place = 0; place < length; place += 1) {
        this.#place(list, place, handler, options, values[place]);
        if ((place + 1) % PUBLISH_EVERY === 0) this.#submitter.publish();
      }
      this.#submitWaiting();
      this.#expect();
    });
  }

  poll(): number {
    const drained = this.#submitter.drain(this, DRAIN_MAX);
    if (drained > 0) this.#beforeTold();
    // Without `mayRest` the clock isn't read: a lone call feels it.
    if (this.#mayRest) this.#rate.count(drained, performance.now());
    if (drained > 0 && this.#waiting.length > 0) this.#submitWaiting();
    if (drained > 0 && this.outstanding === 0) this.#whenIdle?.();
    return drained;
  }

  isExpecting(): boolean {
    return this.outstanding > 0;
  }

  restMs(): number {
    const isUrgent = this.#submitter.urgent > 0 || this.#waiting.isUrgent;
    if (!this.#mayRest || isUrgent || this.#submitter.isAnyoneIdle()) return 0;
    return this.#rate.restMs(this.#submitter.waiting());
  }

  settled(slot: number): void {
    const { slots, table } = this.#submitter;
    const index = slot - slots.first;
    const owner = this.#owners[index] as CallOwner;
    const place = this.#places[index] as number;
    // A slot that waits for its next call must not keep this one's promise, result and context
    // alive.
    this.#owners[index] = undefined;
    owner.limited?.settled();
    if (table.argumentKind(slot) === PARCEL) this.parcels.drop(table.argumentNumber(slot));
    let isOk = slots.isOk(slot);
    if (table.resultKind(slot) === PARCEL) {
      this.#awaitParcel(table.machine(slot), table.resultNumber(slot), { owner, place, isOk });
      return;
    }
    let value: unknown;
    try {
      value = slots.value(slot);
    } catch (thrown) {
      isOk = false;
      value = thrown;
    }
    owner.settled(place, isOk, value);
  }

  /** Takes no more calls. */
  refuse(): void {
    this.#isClosed = true;
  }

  /** Takes no more calls; resolves when those under way are settled. */
  async drain(): Promise<void> {
    this.refuse();
    // The argument of a call that is just being made may have called close(), in a getter: let that
    // call be made.
    await Promise.resolve();
    if (this.outstanding > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    this.#whenIdle = undefined;
    this.#reactor.remove(this);
  }

  /** Rejects the calls that are still under way; the machines are gone. */
  abandon(): void {
    this.#isClosed = true;
    const error = schedulerError("ERR_SCHEDULER_CLOSED", "the runtime was terminated before the task was over");
    const owners = new Set(this.#owners);
    for (const { owner } of this.#parcelsAwaited) owners.add(owner);
    for (const { owner } of this.#waiting.clear()) owners.add(owner);
    this.#owners.fill(undefined);
    this.#parcelsAwaited.clear();
    for (const owner of owners) owner?.abandon(error);
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

  /**
   * Looks for outcomes until there are some or the budget is used up. In a microtask: after the
   * caller's own code.
   */
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

  // ── on the way to a slot ──────────────────────────────────────────────────────────────────────

  /**
   * Finds a slot for the call, or lets it wait. Returns whether it has one. An argument that can't
   * be sent settles the call.
   */
  #place(owner: CallOwner, place: number, handler: number, options: CallOptions, value: unknown): boolean {
    if (this.#waiting.length > 0 || options.transferList !== undefined) {
      this.#wait(owner, place, handler, options, value);
      return false;
    }
    const { priority, policy, kind } = options;
    const deadline = owner.limited?.deadline ?? 0;
    let slot: number;
    try {
      slot =
        kind === BYTES
          ? this.#submitter.submit(handler, priority, policy, deadline, value)
          : this.#submitter.submitEncoded(handler, priority, policy, deadline, kind, encode(value));
    } catch (thrown) {
      this.#refused(owner, place, handler, options, value, thrown);
      return false;
    }
    if (slot === FULL) {
      this.#wait(owner, place, handler, options, value);
      return false;
    }
    this.#own(slot, owner, place);
    owner.limited?.submitted(slot);
    return true;
  }

  #own(slot: number, owner: CallOwner, place: number): void {
    const index = slot - this.#submitter.slots.first;
    this.#owners[index] = owner;
    this.#places[index] = place;
  }

  #callLimited(call: SingleCall, handler: number, options: CallOptions, value: unknown): void {
    const { limits } = options;
    if (limits === undefined) return;
    const limited = new LimitedCall(limits, this.#submitter, (error) => call.reject(error));
    if (limited.isOver) return;
    call.limited = limited;
    // The time that encoding takes counts: the timer runs from here.
    limited.start(
      (slot) => this.#freed(slot),
      () => this.#leftWaiting(),
    );
    if (this.#place(call, 0, handler, options, value)) this.#submitter.publish();
    else this.#submitWaiting();
  }

  /** Puts the call into the waiting line, with its argument as it is now. */
  #wait(owner: CallOwner, place: number, handler: number, options: CallOptions, value: unknown): void {
    const { transferList, policy, kind } = options;
    let parcel = -1;
    let bytes: Uint8Array | undefined;
    try {
      if (transferList !== undefined && isCopiedInstead(value, transferList)) {
        const list = checkedTransferList(transferList);
        bytes = encodeCopy(value);
        detach(list);
      } else if (transferList !== undefined) parcel = this.parcels.add(value, transferList, isRetryPolicy(policy));
      else if (kind !== BYTES || kindOf(value) < 0) bytes = encodeCopy(value);
    } catch (thrown) {
      this.#refused(owner, place, handler, options, value, thrown);
      return;
    }
    const isInSlot = bytes === undefined && parcel < 0;
    this.#waiting.add({ owner, place, handler, options, bytes, value: isInSlot ? value : undefined, parcel });
  }

  /** Bytes can't carry the argument: it goes as a parcel, if structured clone takes it. */
  #refused(
    owner: CallOwner,
    place: number,
    handler: number,
    options: CallOptions,
    value: unknown,
    reason: unknown,
  ): void {
    const mayBeParcel = options.kind === BYTES && options.transferList === undefined;
    if (mayBeParcel && isMillraceError(reason, "ERR_VALUE_UNSUPPORTED")) {
      try {
        const parcel = this.parcels.add(value, [], isRetryPolicy(options.policy));
        this.#waiting.add({ owner, place, handler, options, bytes: undefined, value: undefined, parcel });
        return;
      } catch {
        // The codec's reason names the path to what can't be sent.
      }
    }
    owner.limited?.end();
    owner.settled(place, false, reason);
  }

  #submitWaiting(): void {
    this.#waiting.serve(this.#submitBound);
    this.#submitter.publish();
  }

  /** False when no slot is free. */
  #submit({ owner, place, handler, options, bytes, value, parcel }: WaitingCall): boolean {
    const { limited } = owner;
    const { priority, policy, kind } = options;
    if (limited?.isOver === true) {
      this.parcels.drop(parcel);
      return true;
    }
    const deadline = limited?.deadline ?? 0;
    let slot: number;
    try {
      if (parcel >= 0) slot = this.#submitter.submitParcel(handler, priority, policy, deadline, parcel);
      else if (bytes === undefined) slot = this.#submitter.submit(handler, priority, policy, deadline, value);
      else slot = this.#submitter.submitEncoded(handler, priority, policy, deadline, kind, bytes);
    } catch (thrown) {
      limited?.end();
      owner.settled(place, false, thrown);
      return true;
    }
    if (slot === FULL) return false;
    this.#own(slot, owner, place);
    limited?.submitted(slot);
    return true;
  }

  // ── calls that end early, and results that come by message ────────────────────────────────────

  /** A limited call was taken back before any machine had it. */
  #freed(slot: number): void {
    const { slots, table } = this.#submitter;
    this.#owners[slot - slots.first] = undefined;
    if (table.argumentKind(slot) === PARCEL) this.parcels.drop(table.argumentNumber(slot));
    this.#submitWaiting();
    this.#checkIdle();
  }

  /**
   * A limited call ended while it waited on the heap; its entry is passed over when its turn comes.
   */
  #leftWaiting(): void {
    this.#submitWaiting();
    this.#checkIdle();
  }

  /** The outcome of a task comes by message; until then the call counts as under way. */
  #awaitParcel(machine: number, ticket: number, awaited: ParcelAwaited): void {
    this.#parcelsAwaited.add(awaited);
    this.#takeParcel(machine, ticket, (value) => {
      if (!this.#parcelsAwaited.delete(awaited)) return;
      this.#beforeTold();
      awaited.owner.settled(awaited.place, awaited.isOk, value);
      this.#checkIdle();
    });
  }

  #checkIdle(): void {
    if (this.outstanding > 0) return;
    this.#whenIdle?.();
    this.#reactor.check();
  }
}

interface ParcelAwaited {
  readonly owner: CallOwner;
  readonly place: number;
  readonly isOk: boolean;
}

function closedError(): Error {
  return schedulerError("ERR_SCHEDULER_CLOSED", "the runtime is closed");
}
