/**
 * The live page, and the routes that it calls.
 *
 * Figures need a token with the scope `read` unless the page is served on this machine alone, as
 * metrics do. The content of records always needs it: keys, errors, payloads as `redact` lets them
 * be seen. A route that changes something needs the scope `admin`.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { DeadFilter } from "@millrace/intake";
import type { Millrace } from "@millrace/runtime";
import { type Access, bearerOf, type Scope } from "../access/tokens.ts";
import { serverError } from "../errors.ts";
import { readJson } from "../records/json.ts";
import { Feed } from "./feed.ts";
import { pageHeaders, readPageFiles } from "./files.ts";
import { mustBeOwnName, mustBeOwnSite } from "../access/own-site.ts";
import { changeIn, filterInQuery, lineOf } from "./letters.ts";

/** Something that a page's user has done. */
export interface AdminAction {
  readonly what: "pause" | "resume" | "redrive" | "drop";
  /** The handler, or the filter. */
  readonly of: object;
  /** Letters that it was about; 0 for handlers. */
  readonly count: number;
}

export interface PageOptions {
  readonly mill: Millrace;
  /** Of the routes' scopes. */
  readonly access: Access;
  /** Whether the page is served on this machine alone. */
  readonly isLoopback: boolean;
  readonly onAction: ((action: AdminAction) => void) | undefined;
}

const LETTERS_DEFAULT = 50;
const LETTERS_MAX = 500;

/** Returns what sends figures to pages; to be closed before the server. Throws `ERR_PAGE_FILES`. */
export function addPageRoutes(app: FastifyInstance, options: PageOptions): Feed {
  const { mill, isLoopback } = options;
  const feed = new Feed(mill);
  const files = readPageFiles();
  const headers = pageHeaders((files.get("/") as { bytes: Buffer }).bytes);
  const figures: Scope | undefined = isLoopback ? undefined : "read";
  const named = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    reply.headers(headers);
    mustBeOwnName(request.headers, isLoopback);
  };
  const guarded = {
    onRequest: async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
      await named(request, reply);
      mustBeOwnSite(request.headers);
    },
  };
  for (const [path, { type, bytes }] of files) {
    // A link on another site may lead to the document, which is the same for everybody.
    const onRequest = path === "/" ? named : guarded.onRequest;
    app.get(path, { onRequest }, (_request, reply) => reply.type(type).send(bytes));
  }
  app.get("/api/live", { ...guarded, config: scoped(figures) }, (request, reply) => {
    const token = bearerOf(request.headers.authorization);
    feed.add(reply.raw, headers, () => figures === undefined || isGranted(options.access, figures, token));
    reply.hijack();
  });
  // An order key is something out of a record, and this needs no token on this machine.
  app.get("/api/schedules", { ...guarded, config: scoped(figures) }, async () => ({
    schedules: (await mill.schedules()).map(
      ({ payload: _payload, headers: _headers, key: _key, ...schedule }) => schedule,
    ),
  }));
  addRecords(app, mill, guarded);
  addLetters(app, options, guarded);
  addHandlers(app, options, guarded);
  return feed;
}

interface Guarded {
  onRequest(request: FastifyRequest, reply: FastifyReply): Promise<void>;
}

function isGranted(access: Access, scope: Scope, token: string | undefined): boolean {
  try {
    access.demand(scope, token);
    return true;
  } catch {
    return false;
  }
}

function scoped(scope: Scope | undefined): { readonly scope?: Scope } {
  return scope === undefined ? {} : { scope };
}

function addRecords(app: FastifyInstance, mill: Millrace, guarded: Guarded): void {
  const reading = { ...guarded, config: { scope: "read" as const } };
  const whole = async (sequence: number): Promise<object> => {
    const [record, state, letter] = await Promise.all([
      mill.journal.show(sequence),
      mill.recordState(sequence),
      mill.dead.showOne(sequence),
    ]);
    if (record === undefined && letter === undefined) {
      throw serverError("ERR_RECORD_UNKNOWN", `no record ${sequence} of a handler is in the journal`);
    }
    return { record: record ?? null, letter: letter ?? null, state: state ?? null };
  };
  app.get<{ Params: { sequence: string } }>("/api/records/:sequence", reading, (request) => {
    return whole(sequenceOf(request.params.sequence));
  });
  app.get<{ Params: { sequence: string } }>("/api/records/:sequence/timeline", reading, async (request) => {
    return (await mill.journal.timeline(sequenceOf(request.params.sequence))) ?? { events: null, isComplete: true };
  });
  app.get<{ Querystring: { key?: unknown } }>("/api/records", reading, async (request) => {
    const { key } = request.query;
    if (typeof key !== "string" || key === "") throw serverError("ERR_REQUEST_INVALID", "the parameter key is missing");
    const record = await mill.journal.showByKey(key);
    if (record === undefined) throw serverError("ERR_RECORD_UNKNOWN", "no record in the journal has this order key");
    return whole(record.sequence);
  });
  app.get("/api/trace", reading, (_request, reply) => {
    const trace = mill.trace();
    if (trace === undefined) throw serverError("ERR_REQUEST_ROUTE", "the runtime was opened without the option trace");
    return reply.header("content-disposition", 'attachment; filename="trace.json"').send(trace);
  });
}

/** Throws `ERR_REQUEST_INVALID`. */
function sequenceOf(text: string): number {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw serverError("ERR_REQUEST_INVALID", "a sequence is a whole number from 1, of at most 15 digits");
}

function addLetters(app: FastifyInstance, { mill, onAction }: PageOptions, guarded: Guarded): void {
  const reading = { ...guarded, config: { scope: "read" as const } };
  const changing = { ...guarded, config: { scope: "admin" as const } };
  const search = new OneSearch();
  app.get("/api/dead", reading, (request) => {
    const filter = filterInQuery(request.query);
    const limit = Math.min(filter.limit ?? LETTERS_DEFAULT, LETTERS_MAX);
    return search.run(filter, async () => {
      const letters: object[] = [];
      for await (const letter of mill.dead.show({ ...filter, limit })) letters.push(lineOf(letter as never));
      return { letters, isMore: letters.length === limit };
    });
  });
  app.get("/api/dead/count", reading, (request) => {
    // Letters that die from now on aren't counted, and aren't meant by what follows.
    const { to = Infinity, ...filter } = filterInQuery(request.query);
    const asOf = Math.min(to, Date.now() + 1);
    return search.run(filter, async () => ({ count: await mill.dead.count({ ...filter, to: asOf }), to: asOf }));
  });
  app.post("/api/dead/redrive", changing, async (request) => {
    const change = changeIn(bodyOf(request), ["toHandler", "ratePerSecond"]);
    const count = await mill.dead.redrive(change);
    tell(onAction, { what: "redrive", of: change, count });
    return { count };
  });
  app.post("/api/dead/drop", changing, async (request) => {
    const change = changeIn(bodyOf(request), []);
    const count = await mill.dead.drop(change);
    tell(onAction, { what: "drop", of: change, count });
    return { count };
  });
}

/** A text is looked for in every letter, so one such search runs at a time. */
class OneSearch {
  #isRunning = false;

  /** Throws `ERR_PAGE_BUSY`. */
  async run<T>({ text }: DeadFilter, body: () => Promise<T>): Promise<T> {
    if (text === undefined) return body();
    if (this.#isRunning) throw serverError("ERR_PAGE_BUSY", "another search for a text is under way");
    this.#isRunning = true;
    try {
      return await body();
    } finally {
      this.#isRunning = false;
    }
  }
}

function addHandlers(app: FastifyInstance, { mill, onAction }: PageOptions, guarded: Guarded): void {
  for (const what of ["pause", "resume"] as const) {
    app.post(`/api/handlers/${what}`, { ...guarded, config: { scope: "admin" as const } }, async (request) => {
      const { handler } = (bodyOf(request) ?? {}) as { handler?: unknown };
      if (typeof handler !== "string") throw serverError("ERR_REQUEST_INVALID", '"handler" must be a text');
      await mill[what](handler);
      tell(onAction, { what, of: { handler }, count: 0 });
      return { handler };
    });
  }
}

/** The action is done, even if nobody gets the news. */
function tell(onAction: PageOptions["onAction"], action: AdminAction): void {
  try {
    onAction?.(action);
  } catch (thrown) {
    process.emitWarning(thrown instanceof Error ? thrown : String(thrown));
  }
}

function bodyOf(request: FastifyRequest): unknown {
  return readJson((request.body as Buffer | undefined) ?? Buffer.alloc(0));
}
