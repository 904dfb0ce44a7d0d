/**
 * A group: a party that waits for several objects, one of which serves it. `select` is built on it.
 *
 * It posts a node into each of the objects. Each node names the group's own node, which is in no
 * queue. DECISION there says who serves the party:
 *
 *   TICKET   nobody yet; a number below 0 that this group hasn't had before, which its nodes carry
 *            too
 *   a node   the party was claimed through this one. The latch holder of that node's object writes
 *            it by compare-and-swap from TICKET, and takes it back when the service comes to
 *            nothing; final once the group's STATE is GRANTED
 *   0        the owner has changed its mind; by compare-and-swap from TICKET
 *
 * STATE of the group is the ticket as well, until the party is told.
 *
 * The ticket makes a late look harmless: a thread that still sees a node of an earlier use fails
 * with its compare-and-swap. (One word decides between the cases as in Go's selectDone and
 * crossbeam's Context. There it is never taken back, because the two sides of a meeting are never
 * both a select that others may serve at the same time.)
 *
 * A thread that needs two groups at once claims the one with the lower node first
 * (channel-core.ts). So when several threads are in each other's way, one of them makes progress.
 */
import {
  ASKS_ASYNC,
  DECISION,
  GRANTED,
  NODE_ASKS,
  NODE_CELL,
  NODE_GROUP,
  NODE_STATE,
  NODE_WAKES,
  setSeen,
  SIBLING,
  TICKET,
} from "./node.ts";
import type { Waited } from "./block.ts";
import type { SyncSpace } from "./space.ts";
import { StackGuard } from "../threads/stack.ts";

/** An object that a member of a group waits for. */
interface Member {
  readonly monitor: Waited & { retract(node: number): boolean };
  readonly node: number;
}

/** The owner's end of a group; for one wait. */
export class SelectGroup implements Waited {
  /** The node to wait for; `block` and `AsyncWaits.wait` take it. */
  readonly node: number;
  readonly #space: SyncSpace;
  readonly #ticket: number;
  readonly #members: Member[] = [];

  private constructor(space: SyncSpace, node: number, ticket: number) {
    this.#space = space;
    this.node = node;
    this.#ticket = ticket;
  }

  /** `wakes`: the thread to wake; `isAsync`: whether it waits in its event loop. */
  static open(space: SyncSpace, wakes: number, isAsync: boolean): SelectGroup {
    new StackGuard().assertRoom();
    const { words } = space;
    const node = space.takeGroup();
    const ticket = space.nextTicket();
    setSeen(words, node + NODE_CELL, 0);
    words[node + NODE_WAKES] = wakes;
    words[node + NODE_ASKS] = isAsync ? ASKS_ASYNC : 0;
    words[node + SIBLING] = 0;
    Atomics.store(words, node + DECISION, ticket);
    Atomics.store(words, node + NODE_STATE, ticket);
    return new SelectGroup(space, node, ticket);
  }

  /**
   * Makes a node that is prepared and not posted yet a member; all of them before the first is
   * posted.
   */
  add(monitor: Member["monitor"], node: number): void {
    const words = this.#space.words;
    setSeen(words, node + NODE_GROUP, this.node);
    Atomics.store(words, node + TICKET, this.#ticket);
    words[node + SIBLING] = words[this.node + SIBLING] as number;
    words[this.node + SIBLING] = node;
    this.#members.push({ monitor, node });
  }

  pump(): void {
    for (const { monitor } of this.#members) monitor.pump();
  }

  cancel(): boolean {
    return Atomics.compareExchange(this.#space.words, this.node + DECISION, this.#ticket, 0) === this.#ticket;
  }

  /**
   * The node through which the party was served, for the caller to give back; 0 after `cancel`.
   * Takes all others back.
   */
  finish(): number {
    const words = this.#space.words;
    const isServed = Atomics.load(words, this.node + NODE_STATE) === GRANTED;
    const served = isServed ? Atomics.load(words, this.node + DECISION) : 0;
    for (const { monitor, node } of this.#members) {
      if (node !== served) monitor.retract(node);
    }
    return served;
  }

  /** Gives the group's node back; after the node that `finish` has returned. */
  end(): void {
    this.#space.giveGroup(this.node);
  }
}
