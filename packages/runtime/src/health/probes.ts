/**
 * Probes of the things that a service depends on besides its own journal: a database, a cache. Each
 * look has a time limit, and is remembered for a while, so that a health check that comes every
 * second, from several sides, is no load. One look at a time: while one hangs, no second one is
 * begun.
 */
import {
  boolean,
  callback,
  clearTimeout,
  integer,
  messageOf,
  optionsObject,
  performance,
  resolveOptions,
  type Resolved,
  type Rules,
  setTimeout,
} from "@millrace/base";

export interface Probe {
  /**
   * Looks: up when it returns or resolves, down when it throws, rejects, or takes too long. The
   * signal aborts when its time is over.
   */
  readonly check: (signal: AbortSignal) => unknown;
  /** Default 1 s. */
  readonly timeoutMs?: number;
  /** For how long a result is given again. Default 5 s. */
  readonly cacheMs?: number;
  /**
   * Whether readiness answers 503 while it is down. Default false: it is a warning. A dependency
   * that all replicas share would take all of them out at once.
   */
  readonly isRequired?: boolean;
}

export interface ProbeResult {
  readonly name: string;
  readonly status: "up" | "down";
  readonly isRequired: boolean;
  /** Why it is down; at most 200 characters. */
  readonly reason?: string;
  /** How long the look took, and how long ago it ended. */
  readonly tookMs: number;
  readonly ageMs: number;
}

/** Most probes: as many as fit into an answer of 2 kB. */
const PROBES_MAX = 16;
const REASON_MAX = 200;
const HOUR_MS = 3_600_000;

const rules = {
  check: callback<(signal: AbortSignal) => unknown>(),
  timeoutMs: integer(1, HOUR_MS, 1000),
  cacheMs: integer(0, HOUR_MS, 5000),
  isRequired: boolean(false),
} satisfies Rules;

interface Seen {
  readonly reason: string | undefined;
  readonly tookMs: number;
  readonly atMs: number;
}

class Watched {
  readonly #name: string;
  readonly #probe: Resolved<typeof rules>;
  #seen: Seen | undefined;
  #looking: Promise<Seen> | undefined;
  /** A look whose time was over, and that has not returned. */
  #hangsSinceMs: number | undefined;

  constructor(name: string, probe: Resolved<typeof rules>) {
    this.#name = name;
    this.#probe = probe;
  }

  async result(): Promise<ProbeResult> {
    const { reason, tookMs, atMs } = await this.#now();
    const ageMs = Math.round(performance.now() - atMs);
    const status = reason === undefined ? "up" : "down";
    const { isRequired } = this.#probe;
    return { name: this.#name, status, isRequired, ...(reason === undefined ? {} : { reason }), tookMs, ageMs };
  }

  #now(): Promise<Seen> | Seen {
    const now = performance.now();
    if (this.#seen !== undefined && now - this.#seen.atMs < this.#probe.cacheMs) return this.#seen;
    if (this.#hangsSinceMs !== undefined) {
      const tookMs = Math.round(now - this.#hangsSinceMs);
      return { reason: `the last look has not returned for ${tookMs} ms`, tookMs, atMs: now };
    }
    this.#looking ??= this.#look(now);
    return this.#looking;
  }

  async #look(startedMs: number): Promise<Seen> {
    const { check, timeoutMs } = this.#probe;
    const over = new AbortController();
    let isLate = false;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<string>((resolve) => {
      timer = setTimeout(() => {
        isLate = true;
        this.#hangsSinceMs = startedMs;
        resolve(`no answer within ${timeoutMs} ms`);
        over.abort(new Error(`no answer within ${timeoutMs} ms`));
      }, timeoutMs);
    });
    const looked = (async () => check(over.signal))().then(
      () => undefined,
      (thrown: unknown) => messageOf(thrown).slice(0, REASON_MAX),
    );
    void looked.then(() => {
      if (isLate) this.#hangsSinceMs = undefined;
    });
    const reason = await Promise.race([looked, late]);
    clearTimeout(timer);
    const atMs = performance.now();
    this.#seen = { reason, tookMs: Math.round(atMs - startedMs), atMs };
    this.#looking = undefined;
    return this.#seen;
  }
}

export class Probes {
  readonly #watched: readonly Watched[];

  /** By name. Throws `ERR_INVALID_OPTION`. */
  constructor(probes: Readonly<Record<string, Probe>>) {
    resolveOptions("Probes", { probes: optionsObject<typeof probes>() }, { probes });
    const count = Object.keys(probes).length;
    resolveOptions("Probes", { count: integer(0, PROBES_MAX) }, { count });
    this.#watched = Object.entries(probes).map(
      ([name, probe]) => new Watched(name, resolveOptions(`Probes({ ${name} })`, rules, probe)),
    );
  }

  /** Never rejects; resolves within the longest `timeoutMs`. */
  results(): Promise<ProbeResult[]> {
    return Promise.all(this.#watched.map((each) => each.result()));
  }
}
