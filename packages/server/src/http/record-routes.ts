/** `POST /v1/records/:handler` and `GET /v1/records/:sequence`. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { isMillraceError } from "@millrace/base";
import { toPlain } from "@millrace/intake";
import type { Millrace } from "@millrace/runtime";
import type { Scope } from "../access/tokens.ts";
import { serverError } from "../errors.ts";
import { readJson } from "../records/json.ts";
import type { Publications } from "../records/publication.ts";
import { retryAfterSeconds } from "../records/status.ts";
import { type LineResult, publishLines, publishTogether } from "./batch.ts";
import { switchesIn, termsIn } from "./headers.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The scope that a token needs for this route; without it nobody needs a token. */
    readonly scope?: Scope;
  }
}

export interface RecordRoutesOptions {
  readonly mill: Millrace;
  readonly publications: Publications;
  readonly linesMax: number;
}

export const NDJSON = "application/x-ndjson";

export function addRecordRoutes(app: FastifyInstance, options: RecordRoutesOptions): void {
  app.post<{ Params: { handler: string } }>(
    "/v1/records/:handler",
    { config: { scope: "publish" } },
    (request, reply) => publish(options, request, reply),
  );
  app.get<{ Params: { sequence: string } }>("/v1/records/:sequence", { config: { scope: "read" } }, (request) =>
    recordOf(options.mill, request.params.sequence),
  );
}

async function publish(
  options: RecordRoutesOptions,
  request: FastifyRequest<{ Params: { handler: string } }>,
  reply: FastifyReply,
): Promise<object> {
  const { linesMax } = options;
  const publications: Publications = options.publications;
  const { handler } = request.params;
  publications.mustBeHandler(handler);
  const terms = termsIn(request.raw);
  const body = (request.body as Buffer | undefined) ?? Buffer.alloc(0);
  if (request.mediaType !== NDJSON) {
    switchesIn(request.query, []);
    const stored = await publications.publish(handler, readJson(body), terms);
    reply.code(202).header("location", `/v1/records/${stored.sequence}`);
    return stored;
  }
  const { atomic, envelope } = switchesIn(request.query, ["atomic", "envelope"]);
  const batch = { linesMax, isEnvelope: envelope };
  if (atomic) {
    reply.code(202);
    return { results: await publishTogether(publications, handler, body, terms, batch) };
  }
  const results = await publishLines(publications, handler, body, terms, batch);
  const stored = results.filter((result) => "sequence" in result).length;
  reply.code(207);
  const wait = longestWait(results);
  if (wait !== undefined) reply.header("retry-after", wait);
  return { stored, refused: results.length - stored, results };
}

function longestWait(results: readonly LineResult[]): number | undefined {
  const waits = results.map((result) => ("error" in result ? (retryAfterSeconds(result.error) ?? 0) : 0));
  const longest = waits.reduce((left, right) => Math.max(left, right), 0);
  return longest === 0 ? undefined : longest;
}

/** State and, where one is kept, the result. */
async function recordOf(mill: Millrace, text: string): Promise<object> {
  const sequence = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : 0;
  const state = await mill.recordState(sequence);
  if (state === undefined) throw serverError("ERR_RECORD_UNKNOWN", `no record has the sequence ${text.slice(0, 40)}`);
  if (state !== "done") return { sequence, state };
  try {
    return { sequence, state, result: toPlain(await mill.result(sequence)) };
  } catch (thrown) {
    // The state is known; of the result it is said why there is none.
    if (!isMillraceError(thrown)) throw thrown;
    if (thrown.code === "ERR_RESULT_EXPIRED") return { sequence, state };
    return { sequence, state, resultError: { code: thrown.code, message: thrown.message } };
  }
}
