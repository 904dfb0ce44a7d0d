/** Health for supervisors, and metrics for Prometheus. */
import type { FastifyInstance, FastifyRequest } from "fastify";
import { HEALTH_GROUPS, healthAnswer, metricsText, type Millrace, type Probes } from "@millrace/runtime";
import { type Access, bearerOf } from "../access/tokens.ts";
import { switchesIn } from "../http/headers.ts";
import { mustBeOwnName, mustBeOwnSite } from "../access/own-site.ts";

export interface AdminRoutesOptions {
  readonly mill: Millrace;
  readonly probes: Probes | undefined;
  /** Guards texts, figures and metrics: they name handlers and paths. */
  readonly access: Access;
  /** Whether this is served on this machine alone. */
  readonly isLoopback: boolean;
  /** Whether the server is about to end. */
  isEnding(): boolean;
}

const DRAINING = { code: "DRAINING" };
const RETRY_AFTER_SECONDS = "1";
const PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8";

/**
 * `/health/live`, `/health/ready`, `/health/started`: codes for everybody, with `?verbose=1` texts
 * and figures for those with access. `/metrics` for those with access.
 */
export function addAdminRoutes(app: FastifyInstance, options: AdminRoutesOptions): void {
  const { mill, probes } = options;
  const mayLook = ({ headers }: FastifyRequest): void => {
    options.access.demand("admin", bearerOf(headers.authorization));
    mustBeOwnName(headers, options.isLoopback);
    mustBeOwnSite(headers);
  };
  for (const group of HEALTH_GROUPS) {
    app.get(`/health/${group}`, async (request, reply) => {
      const { verbose } = switchesIn(request.query, ["verbose"]);
      if (verbose) mayLook(request);
      const answer = await healthAnswer(mill, group, { probes, isVerbose: verbose });
      reply.code(answer.status).headers(answer.headers);
      if (group !== "ready" || !options.isEnding()) return answer.body;
      reply.code(503).header("retry-after", RETRY_AFTER_SECONDS);
      return { ...answer.body, status: "DOWN", reasons: [DRAINING, ...answer.body.reasons] };
    });
  }
  app.get("/metrics", (request, reply) => {
    mayLook(request);
    return reply.type(PROMETHEUS_TEXT).send(metricsText(mill));
  });
}
