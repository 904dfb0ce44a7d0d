/** Health for supervisors: 200, or 503 with the reasons. */
import type { FastifyInstance } from "fastify";
import type { HealthCode, HealthReason, Millrace } from "@millrace/runtime";

export interface HealthSource {
  readonly mill: Millrace;
  /** Whether the server is about to end. */
  isEnding(): boolean;
}

/** What a restart of the process heals; everything else would only be interrupted by one. */
const HEALED_BY_RESTART: ReadonlySet<HealthCode> = new Set([
  "THREADS_DEAD",
  "DELIVERY_DEAD",
  "JOURNAL_POISONED",
  "DIRECTORY_GONE",
]);

interface HealthDocument {
  readonly status: "ok" | "degraded" | "down";
  readonly reasons: readonly (
    | HealthReason
    | { readonly code: "DRAINING"; readonly status: "down"; readonly text: string }
  )[];
}

const RETRY_SECONDS = 1;

/** `/health/live`, `/health/ready`, `/health/started`: no token is needed, no payload is shown. */
export function addHealthRoutes(app: FastifyInstance, source: HealthSource): void {
  const { mill } = source;
  const add = (path: string, look: () => HealthDocument): void => {
    app.get(path, async (_request, reply) => {
      const health = look();
      if (health.status === "down") reply.code(503).header("retry-after", RETRY_SECONDS);
      return health;
    });
  };
  add("/health/live", () => {
    const reasons = mill.health().reasons.filter(({ code }) => HEALED_BY_RESTART.has(code));
    return { status: reasons.length > 0 ? "down" : "ok", reasons };
  });
  add("/health/ready", () => {
    const { status, reasons } = mill.health();
    if (!source.isEnding()) return { status, reasons };
    const draining = { code: "DRAINING", status: "down", text: "the server is about to end" } as const;
    return { status: "down", reasons: [draining, ...reasons] };
  });
  // A server is made of a runtime that is open: what the last process left is known by then.
  add("/health/started", () => ({ status: "ok", reasons: [] }));
}
