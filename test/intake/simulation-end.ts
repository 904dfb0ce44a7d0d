/**
 * Checks at the end, when everything that can end has ended: nothing is forgotten, nothing is left.
 */
import type { SimContext } from "./simulation-context.ts";
import type { KnownRecords } from "./simulation-known.ts";
import { ABSENT_HANDLER, type SimProcess } from "./simulation-process.ts";

export function checkEnd(context: SimContext, { delivery, log }: SimProcess, known: KnownRecords): void {
  for (const { sequence, handler, state } of known.all()) {
    if (handler === ABSENT_HANDLER || state !== "unfinished") continue;
    context.broken(`record ${sequence} of ${handler} is never handled; ${delivery.describe()}`);
  }
  if (!delivery.isDrained) context.broken("everything has ended, and delivery isn't drained");
  checkDisk(context, delivery.states, known);
  checkHeld(context, delivery.states, known, log.known);
}

type States = SimProcess["delivery"]["states"];

/** Every unfinished record, and every dead one, is still in the log. */
function checkDisk(context: SimContext, states: States, known: KnownRecords): void {
  for (const { sequence, handler, state, first } of known.all()) {
    const isNeeded = handler === ABSENT_HANDLER ? first === undefined : state === "dead";
    if (!isNeeded || state === "expired") continue;
    if (context.disk.at(states.placeOf(sequence)) === undefined) context.broken(`record ${sequence} is gone`);
  }
}

/** No record holds a place without need: every place that isn't given away has a reason. */
function checkHeld(context: SimContext, states: States, known: KnownRecords, last: number): void {
  const needed = new Set<number>(states.windowChunks.keys());
  for (const [, { place }] of states.retries) needed.add(place);
  for (const { place } of states.results.all.values()) needed.add(place);
  for (const [origin, { place }] of states.dead) needed.add(place).add(states.placeOf(origin));
  for (const { sequence, state } of known.all()) {
    if (state === "unfinished") needed.add(states.placeOf(sequence));
  }
  for (let place = context.disk.firstSequence; place <= last; place += 1) {
    if (!states.droppable.has(place) && !needed.has(place)) context.broken(`place ${place} is kept for nothing`);
  }
  for (const origin of [...states.redriven.keys(), ...states.redirected.keys()]) {
    const isOver = states.isSettled(origin) && !states.isDead(origin);
    if (isOver) context.broken(`record ${origin} is over, and is remembered as redriven`);
  }
}
