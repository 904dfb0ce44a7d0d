/** The routes, and what every answer has in common, as a fastify instance that listens nowhere. */
import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import fastify, { type FastifyError, type FastifyInstance, type FastifyReply } from "fastify";
import type { Addresses } from "../access/addresses.ts";
import { type Access, bearerOf } from "../access/tokens.ts";
import { serverError, type ServerErrorCode } from "../errors.ts";
import { errorDocument, retryAfterSeconds, statusOf } from "../records/status.ts";

export interface AppOptions {
  readonly access: Access;
  readonly bodyBytesMax: number;
  /** The types of JSON that routes take; others are refused. */
  readonly contentTypes: readonly string[];
  /** Limits of one address; undefined: no limits. */
  readonly addresses?: Addresses;
  /** Looked at before a route with a scope, when a token has let it pass. Throws. */
  readonly guard?: (headers: IncomingHttpHeaders) => void;
  /** Whether the server is about to end: connections are closed with their answer. */
  isEnding(): boolean;
  /** Whether it takes no request any more. */
  isRefusing(): boolean;
}

/** Of fastify, as ours. */
const CODES: Readonly<Record<string, readonly [code: ServerErrorCode, text: string]>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: ["ERR_REQUEST_TOO_LARGE", "the body is larger than the server takes"],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ["ERR_REQUEST_MALFORMED", "the body isn't as long as Content-Length says"],
  FST_ERR_BAD_URL: ["ERR_REQUEST_MALFORMED", "the path isn't a valid one"],
  FST_ERR_MAX_PARAM_LENGTH: ["ERR_REQUEST_ROUTE", "the path is too long"],
};

function ours(thrown: unknown): unknown {
  const { code, statusCode } = thrown as Partial<FastifyError>;
  const [known, text] = CODES[code ?? ""] ?? [];
  if (known !== undefined && text !== undefined) return serverError(known, text, { cause: thrown });
  // Faults that fastify and Node find in a request and that have no entry above.
  if (code?.startsWith("FST_") === true && statusCode !== undefined && statusCode < 500) {
    return serverError("ERR_REQUEST_MALFORMED", (thrown as Error).message, { cause: thrown });
  }
  // The client has gone while it sent its body: nobody reads this answer.
  if (code === "ECONNRESET") return serverError("ERR_REQUEST_MALFORMED", "the body has ended early", { cause: thrown });
  return thrown;
}

/** `curl -d` alone says that it sends a form. */
function typeError(given = "", known: readonly string[]): Error {
  const type = given.trim() === "" ? "none" : given.slice(0, 100);
  return serverError("ERR_REQUEST_TYPE", `the body's type must be ${known.join(" or ")}, not ${type}`);
}

/** Sends an error as a document. */
function refuse(reply: FastifyReply, thrown: unknown): FastifyReply {
  const error = ours(thrown);
  const status = statusOf(error);
  const document = errorDocument(error);
  const wait = retryAfterSeconds(document);
  if (wait !== undefined) reply.header("retry-after", wait);
  if (status === 401) reply.header("www-authenticate", "Bearer");
  return reply.code(status).send({ error: document });
}

function mustBePlainUtf8({ headers }: IncomingMessage): void {
  const { "content-encoding": encoding = "identity", "content-type": type = "" } = headers;
  if (encoding.toLowerCase() !== "identity") {
    throw serverError("ERR_REQUEST_TYPE", `the encoding ${encoding.slice(0, 40)} isn't read`);
  }
  const charset = /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(type)?.[1] ?? "utf-8";
  if (/^utf-?8$/i.test(charset)) return;
  throw serverError("ERR_REQUEST_TYPE", `the character set ${charset.slice(0, 40)} isn't read`);
}

/** A request of an address that has sent too many costs no more than this. */
function mustBeInTime(addresses: Addresses | undefined, address = ""): void {
  const retryAfterMs = addresses?.waitMs(address) ?? 0;
  if (retryAfterMs > 0) {
    throw serverError("ERR_REQUEST_RATE", "too many requests come from this address", { details: { retryAfterMs } });
  }
  addresses?.take(address);
}

/** Something in front of us has read the body: to wait for it would be to wait for ever. */
function mustHaveBody(request: IncomingMessage): void {
  const { "content-length": length = "0", "transfer-encoding": coding } = request.headers;
  if (!request.readableEnded || (length === "0" && coding === undefined)) return;
  throw serverError("ERR_BODY_TAKEN", "another parser has read the body of this request");
}

export function buildApp(options: AppOptions): FastifyInstance {
  const app = fastify({
    logger: false,
    bodyLimit: options.bodyBytesMax,
    exposeHeadRoutes: false,
    // The server that owns the sockets ends them in order.
    forceCloseConnections: false,
    return503OnClosing: false,
    frameworkErrors: (error, _request, reply) => void refuse(reply as unknown as FastifyReply, error),
  });
  app.removeAllContentTypeParsers();
  if (options.contentTypes.length > 0) {
    app.addContentTypeParser([...options.contentTypes], { parseAs: "buffer" }, (_request, body, done) =>
      done(null, body),
    );
  }
  app.setErrorHandler((error, { headers }, reply) => {
    const isOfType = (error as Partial<FastifyError>).code === "FST_ERR_CTP_INVALID_MEDIA_TYPE";
    return refuse(reply, isOfType ? typeError(headers["content-type"], options.contentTypes) : error);
  });
  app.setNotFoundHandler((request, reply) =>
    refuse(reply, serverError("ERR_REQUEST_ROUTE", `there is no ${request.method} ${request.url.slice(0, 100)}`)),
  );
  app.addHook("onRequest", async (request, reply) => {
    reply.header("cache-control", "no-store");
    const { scope } = request.routeOptions.config;
    if (scope === undefined) return;
    mustBeInTime(options.addresses, request.socket.remoteAddress);
    options.access.demand(scope, bearerOf(request.headers.authorization));
    options.guard?.(request.headers);
    if (options.isRefusing()) throw serverError("ERR_SERVER_DRAINING", "the server is about to end");
    mustBePlainUtf8(request.raw);
    mustHaveBody(request.raw);
  });
  app.addHook("onSend", async (_request, reply) => {
    if (options.isEnding()) reply.header("connection", "close");
  });
  return app;
}

/** Answers what isn't HTTP, or comes too slowly, and ends the connection. */
export function answerClientErrors(server: Server): void {
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    if (error.code === "ECONNRESET" || !socket.writable) {
      socket.destroy();
      return;
    }
    const [status, thrown] =
      error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? ["408 Request Timeout", serverError("ERR_REQUEST_TIMEOUT", "the request didn't arrive in time")]
        : error.code === "HPE_HEADER_OVERFLOW"
          ? ["431 Request Header Fields Too Large", serverError("ERR_REQUEST_TOO_LARGE", "the headers are too large")]
          : ["400 Bad Request", serverError("ERR_REQUEST_MALFORMED", "what was sent isn't HTTP")];
    const body = JSON.stringify({ error: errorDocument(thrown) });
    const head = `HTTP/1.1 ${status}\r\nContent-Type: application/json; charset=utf-8\r\nConnection: close\r\n`;
    socket.end(`${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  });
}

/** A plain handler for `node:http` and what is made of it. */
export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** Throws what a plugin of fastify throws. */
export async function handlerOf(app: FastifyInstance): Promise<RequestHandler> {
  await app.ready();
  return (request, response) => app.routing(request, response);
}
