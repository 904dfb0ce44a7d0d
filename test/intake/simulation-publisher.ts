/** The publishers, and their records on the way to the disk. */
import type { Terms } from "@millrace/intake/internal/format/record-header";
import type { Published } from "./produced.ts";
import type { SimContext } from "./simulation-context.ts";
import { ABSENT_HANDLER, HANDLERS } from "./simulation-process.ts";

/** Payload of a record that ends the process of its handler. */
export const DEADLY = "deadly";
/** The name of the one producer. */
export const PRODUCER = "src";

export class SimPublisher {
  readonly #context: SimContext;
  /** Groups that aren't durable yet. */
  #onWay: (readonly Published[])[] = [];

  constructor(context: SimContext) {
    this.#context = context;
  }

  get onWay(): number {
    return this.#onWay.length;
  }

  publish(): void {
    const { random } = this.#context;
    const count = random.below(8) === 0 ? 2 + random.below(3) : 1;
    const group = Array.from({ length: count }, () => this.describe());
    if (count > 1) for (const published of group) withoutConflicts(published, group);
    this.#onWay.push(group);
  }

  /** Takes the oldest groups, as many as the writer gets in one batch. */
  take(): (readonly Published[])[] {
    return this.#onWay.splice(0, this.#context.random.below(this.#onWay.length + 1));
  }

  /** The process has died, and what was on its way with it. */
  lose(): void {
    this.#onWay = [];
  }

  /** A record that a publisher or a handler may publish. */
  describe(): Published {
    const { clock, random } = this.#context;
    const { rates } = this.#context.conditions;
    const handler = random.below(rates.later) === 0 ? ABSENT_HANDLER : this.#someHandler();
    const priority = random.below(3);
    const key = random.below(2) === 0 ? `k${random.below(3)}` : undefined;
    const isDeadly = rates.deadly > 0 && random.below(rates.deadly) === 0;
    const payload = isDeadly ? DEADLY : `p${random.below(3)}`;
    const idempotencyKey = random.below(3) === 0 ? `i${random.below(30)}` : undefined;
    const terms: Terms = {
      isOrdered: key !== undefined,
      idempotency:
        idempotencyKey === undefined
          ? undefined
          : {
              key: Buffer.from(idempotencyKey),
              payloadCrc: payload.charCodeAt(1),
              payloadBytes: payload.length,
              steadyMs: clock.steadyUnlessWall(),
            },
      producer:
        random.below(8) === 0
          ? { id: PRODUCER, sequence: random.below(40), payloadCrc: payload.charCodeAt(1) }
          : undefined,
      notBeforeMs: random.below(rates.delayed) === 0 ? clock.wall() + random.below(8000) : undefined,
      expiresAtMs: random.below(rates.expiring) === 0 ? clock.wall() + 8000 + random.below(8000) : undefined,
    };
    return { handler, priority, key, terms, payload };
  }

  #someHandler(): string {
    const { conditions, random } = this.#context;
    const { stalled } = conditions;
    if (stalled === undefined) return HANDLERS[random.below(HANDLERS.length)] as string;
    if (random.below(stalled.oneIn) === 0) return stalled.handler;
    const others = HANDLERS.filter((name) => name !== stalled.handler);
    return others[random.below(others.length)] as string;
  }
}

/**
 * Two payloads under one key are refused by the publisher. And whether a producer's sequence is
 * free again would depend on what becomes of the group.
 */
function withoutConflicts({ terms, handler, payload }: Published, group: readonly Published[]): void {
  const own = terms as { producer?: unknown; idempotency?: Terms["idempotency"] };
  delete own.producer;
  const key = String(own.idempotency?.key);
  const isConflict = group.some(
    (other) => other.handler === handler && other.payload !== payload && String(other.terms.idempotency?.key) === key,
  );
  if (isConflict) delete own.idempotency;
}
