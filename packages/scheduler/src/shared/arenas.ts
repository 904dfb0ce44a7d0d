/**
 * The arenas of one scheduler, as one thread sees them: how it makes regions, learns of those of
 * others, and lets go of them.
 *
 * There is an arena per submitter for arguments and one per machine for results. Their tables lie
 * in one SharedArrayBuffer, their first regions are made with it. The buffer of a later region goes
 * to all threads by a BroadcastChannel, whose messages `receiveMessageOnPort` takes off also while
 * the event loop stands. A thread that joined after a message was sent asks on the channel; the
 * opener, which joins first and keeps every region, sends all of them again.
 *
 * A region's memory is unmapped when no isolate holds its buffer any more. Isolates that are idle
 * don't collect garbage by themselves, so `tick` does. Design: docs/adr/0015-memory-comes-back.md.
 */
import { randomUUID } from "node:crypto";
import { BroadcastChannel, receiveMessageOnPort } from "node:worker_threads";
import { invariant, setImmediate } from "@millrace/base";
import {
  Arena,
  ARENA_WORDS,
  ArenaView,
  firstRegionBytes,
  forgetArena,
  initArenaTable,
  makeRegion,
  MAPPED,
} from "@millrace/shared-memory";
import { schedulerError } from "../errors.ts";
import { Garbage } from "./garbage.ts";

/** The memory that every thread needs; a plain value. */
export interface ArenaMemory {
  readonly table: SharedArrayBuffer;
  readonly first: readonly SharedArrayBuffer[];
  /** Bytes that calls from outside may have in one arena. */
  readonly bytesMax: number;
  readonly channel: string;
}

/** How long a thread waits for the answer before it asks again. */
const ANSWER_MS = 100;
/** Index and number of a region are below 2^7 and 2^32. */
const INDEX_BITS = 7;

interface RegionMessage {
  readonly arena: number;
  readonly index: number;
  readonly number: number;
  readonly buffer: SharedArrayBuffer;
}
type Message = RegionMessage | "which regions are there?";

/** Throws `ERR_ARENA_MEMORY`. */
export function allocateArenas(arenas: number, bytesMax: number): ArenaMemory {
  const table = new SharedArrayBuffer(arenas * ARENA_WORDS * Int32Array.BYTES_PER_ELEMENT);
  const words = new Int32Array(table);
  for (let arena = 0; arena < arenas; arena += 1) initArenaTable(words, arena * ARENA_WORDS);
  const bytes = firstRegionBytes(bytesMax);
  const first = Array.from({ length: arenas }, () => makeRegion(bytes) ?? refused(bytes));
  return { table, first, bytesMax, channel: `millrace ${randomUUID()}` };
}

function refused(bytes: number): never {
  throw schedulerError("ERR_ARENA_MEMORY", `the system gives no ${bytes} bytes of memory`, { details: { bytes } });
}

export class Arenas {
  readonly memory: ArenaMemory;
  readonly table: Int32Array;
  readonly garbage: Garbage = new Garbage();
  /** Regions that were made or received here, by arena and index. */
  readonly #regions = new Map<number, RegionMessage>();
  readonly #owners: Arena[] = [];
  readonly #views: ArenaView[] = [];
  #channel: BroadcastChannel | undefined;
  #isKeeper = false;

  constructor(memory: ArenaMemory) {
    this.memory = memory;
    this.table = new Int32Array(memory.table);
  }

  /**
   * Before the first call: from now on this thread gets every region. The opener keeps them for
   * threads that come later.
   */
  join(isKeeper: boolean): void {
    this.#isKeeper = isKeeper;
    this.#join();
  }

  /**
   * Once the scheduler is closed: lets go of every region, and collects them if that is worth it.
   */
  leave(): void {
    this.#channel?.close();
    for (const owner of this.#owners) owner.end();
    for (const view of this.#views) view.end();
    for (const { buffer } of this.#regions.values()) this.garbage.letGo(buffer.byteLength);
    this.#regions.clear();
    // Later: the caller's frames may still refer to a region.
    setImmediate(() => this.garbage.collect()).unref();
  }

  /** The owner's end of an arena. */
  owner(arena: number): Arena {
    const owner = new Arena(this.table, arena * ARENA_WORDS, this.#first(arena), (index, number, bytes) =>
      this.#create({ arena, index, number }, bytes),
    );
    this.#owners.push(owner);
    return owner;
  }

  /** A reader's end. */
  view(arena: number): ArenaView {
    const view = new ArenaView(this.table, arena * ARENA_WORDS, this.#first(arena), (index, number) =>
      this.#find(arena, index, number),
    );
    this.#views.push(view);
    return view;
  }

  /** Once an owner is dead and all its blocks are read. */
  forget(arena: number): void {
    forgetArena(this.table, arena * ARENA_WORDS);
  }

  /** Bytes of all regions that the owners hold now. */
  mappedBytes(): number {
    let bytes = 0;
    for (let arena = 0; arena < this.memory.first.length; arena += 1) {
      bytes += this.#first(arena).byteLength + Atomics.load(this.table, arena * ARENA_WORDS + MAPPED) * 1024;
    }
    return bytes;
  }

  /** Whether every arena has its first region only. */
  get areSmall(): boolean {
    return this.mappedBytes() === this.memory.first.length * this.#first(0).byteLength;
  }

  /**
   * Once a second: lets go of what the owners have dropped, and collects garbage if that is worth
   * it.
   */
  tick(): void {
    this.#takeMessages();
    this.#letGo();
    this.garbage.tick();
  }

  #letGo(): void {
    for (const view of this.#views) view.letGo();
    for (const [key, { arena, index, number, buffer }] of this.#regions) {
      if (Atomics.load(this.table, arena * ARENA_WORDS + index) === number) continue;
      this.#regions.delete(key);
      this.garbage.letGo(buffer.byteLength);
    }
  }

  #first(arena: number): SharedArrayBuffer {
    return this.memory.first[arena] as SharedArrayBuffer;
  }

  #create({ arena, index, number }: Omit<RegionMessage, "buffer">, bytes: number): SharedArrayBuffer | undefined {
    const buffer = makeRegion(bytes);
    if (buffer === undefined) return undefined;
    const message = { arena, index, number, buffer };
    this.#keep(message);
    this.#join().postMessage(message satisfies Message);
    return buffer;
  }

  #find(arena: number, index: number, number: number): SharedArrayBuffer {
    let found = this.#known(arena, index, number);
    if (found === undefined) this.#takeMessages();
    found ??= this.#known(arena, index, number);
    const wait = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
    // Ends: the opener answers when its event loop turns.
    while (found === undefined) {
      invariant(!this.#isKeeper, "the opener has every region");
      this.#join().postMessage("which regions are there?" satisfies Message);
      for (let ms = 0; ms < ANSWER_MS && found === undefined; ms += 1) {
        Atomics.wait(wait, 0, 0, 1);
        this.#takeMessages();
        found = this.#known(arena, index, number);
      }
    }
    return found;
  }

  #known(arena: number, index: number, number: number): SharedArrayBuffer | undefined {
    const region = this.#regions.get((arena << INDEX_BITS) | index);
    return region?.number === number ? region.buffer : undefined;
  }

  #keep(message: RegionMessage): void {
    const key = (message.arena << INDEX_BITS) | message.index;
    const before = this.#regions.get(key);
    if (before !== undefined && before.buffer !== message.buffer) this.garbage.letGo(before.buffer.byteLength);
    this.#regions.set(key, message);
  }

  #takeMessages(): void {
    const channel = this.#join();
    for (;;) {
      const taken = receiveMessageOnPort(channel as never) as { readonly message: Message } | undefined;
      if (taken === undefined) return;
      this.#received(taken.message);
    }
  }

  #received(message: Message): void {
    if (typeof message === "string") {
      if (!this.#isKeeper) return;
      for (const region of this.#regions.values()) this.#join().postMessage(region satisfies Message);
      return;
    }
    // One that was sent again, for another thread, after it was dropped.
    if (Atomics.load(this.table, message.arena * ARENA_WORDS + message.index) !== message.number) return;
    if (this.#known(message.arena, message.index, message.number) === undefined) this.#keep(message);
  }

  #join(): BroadcastChannel {
    if (this.#channel !== undefined) return this.#channel;
    const channel = new BroadcastChannel(this.memory.channel);
    channel.addEventListener("message", (event) => this.#received((event as unknown as MessageEvent).data as Message));
    channel.unref();
    this.#channel = channel;
    return channel;
  }
}

const known = new WeakMap<ArenaMemory, Arenas>();

/** This thread's view of the arenas. */
export function arenasOf(memory: ArenaMemory): Arenas {
  let arenas = known.get(memory);
  if (arenas === undefined) {
    arenas = new Arenas(memory);
    known.set(memory, arenas);
  }
  return arenas;
}
