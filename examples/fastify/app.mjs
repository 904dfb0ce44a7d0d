import fastify from "fastify";
import { healthAnswer, isMillraceError, metricsText, open } from "millrace";

/** The status of an error for a client. With any other code the payment may have been stored. */
const STATUS = {
  ERR_IDEMPOTENCY_MISMATCH: 422,
  ERR_INTAKE_FULL: 429,
  ERR_JOURNAL_BUSY: 503,
  ERR_JOURNAL_FULL: 503,
  ERR_DEAD_LETTERS_FULL: 503,
};

const payment = {
  type: "object",
  required: ["id", "account", "amount"],
  additionalProperties: false,
  properties: {
    id: { type: "string", minLength: 1, maxLength: 255 },
    account: { type: "string", minLength: 1, maxLength: 255 },
    amount: { type: "number", exclusiveMinimum: 0 },
  },
};

export async function build({ directory = "./data" } = {}) {
  const mill = await open({
    handlers: new URL("./handlers.mjs", import.meta.url),
    journal: { directory, handlers: { settle: { result: "keep" } } },
  });
  const app = fastify();
  // Requests under way have their answers by then.
  app.addHook("onClose", () => mill.close({ timeoutMs: 8000 }));

  app.setErrorHandler((error, request, reply) => {
    const status = isMillraceError(error) ? (STATUS[error.code] ?? 500) : (error.statusCode ?? 500);
    if (status === 429) reply.header("retry-after", Math.ceil(error.details.retryAfterMs / 1000));
    return reply.code(status).send({ error: error.code ?? error.message });
  });

  app.post("/payments", { schema: { body: payment } }, async ({ body }, reply) => {
    const options = { key: body.account, idempotencyKey: body.id, timeoutMs: 2000 };
    const { sequence, duplicate } = await mill.publish.settle(body, options);
    return reply.code(202).send({ sequence, duplicate });
  });

  app.get("/payments/:sequence", async ({ params }, reply) => {
    const sequence = Number(params.sequence);
    const state = Number.isSafeInteger(sequence) ? await mill.recordState(sequence) : undefined;
    if (state === undefined) return reply.code(404).send({ error: "no such payment" });
    return { state, ...(state === "done" ? { result: await mill.result(sequence) } : {}) };
  });

  app.get("/health/:group", async ({ params, query }, reply) => {
    if (!["live", "ready", "started"].includes(params.group)) return reply.code(404).send();
    const answer = await healthAnswer(mill, params.group, { isVerbose: query.verbose === "1" });
    return reply.code(answer.status).headers(answer.headers).send(answer.body);
  });

  app.get("/metrics", (request, reply) => reply.type("text/plain; version=0.0.4").send(metricsText(mill)));
  return { app, mill };
}
