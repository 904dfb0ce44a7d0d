/**
 * `millrace load crash`: puts a process under load, kills it at random moments, restarts it on the
 * same directory, and at the end compares the acknowledged records with the handled ones.
 *
 * A kill ends the process and leaves the page cache: the run tests a crash of the process, not a
 * loss of power.
 */
import { existsSync } from "node:fs";
import { isMillraceError, type Random, seededRandom } from "@millrace/base";
import { NodeStorage } from "@millrace/journal";
import { scanLog } from "@millrace/journal/kernel";
import { EXIT } from "../terminal/exit-codes.ts";
import { Reporter } from "../terminal/reporter.ts";
import { signals } from "../terminal/signals.ts";
import { duration, grouped, round, table } from "../terminal/units.ts";
import {
  createWorkplace,
  type LoadOptions,
  type Latency,
  latencyMs,
  latencyText,
  STOPPED,
  STOPPING,
  untilStopped,
  type Workplace,
} from "./common.ts";
import { Generator } from "./generator.ts";
import { readLedgers } from "./ledger.ts";
import { payloadCrc } from "./payload.ts";
import { reconcile, type Reconciliation } from "./reconcile.ts";
import { Victim } from "./victim.ts";

export interface CrashOptions extends LoadOptions {
  readonly kills: number;
}

/** One life of the process under test, after a kill. */
interface Life {
  /** From its start until it took records; undefined when the next kill came first. */
  readonly recoveryMs: number | undefined;
}

interface CrashDocument extends Omit<Reconciliation, "lostIds" | "ghostIds"> {
  readonly published: number;
  readonly acknowledged: number;
  readonly rejected: number;
  readonly kills: number;
  /** Start to first record taken, after a kill. */
  readonly recoveryMs: { readonly median: number; readonly max: number };
  readonly killedWhileRecovering: number;
  /**
   * Until the acknowledgement: from when a record was due (also while the process was down), and
   * from when it was sent.
   */
  readonly ackMs: Latency | null;
  readonly serviceMs: Latency | null;
  readonly acknowledgedPerSecond: number;
  readonly seconds: number;
  readonly rate: number;
  readonly payloadBytes: number;
  /** A signal has ended the run early. */
  readonly interrupted: boolean;
  readonly seed: number;
  readonly lostIds: readonly number[];
  readonly ghostIds: readonly number[];
  readonly journal: { readonly segments: number; readonly records: number; readonly bytes: number };
}

export async function loadCrash(options: CrashOptions): Promise<number> {
  const reporter = new Reporter(options);
  const place = createWorkplace(options);
  let keep = false;
  const run = new CrashRun(options, place, reporter);
  try {
    const document = await run.run();
    reporter.result(document, () => textOf(document));
    const verdict = verdictOf(document, options, reporter);
    keep = verdict === EXIT.dataLost;
    return verdict;
  } catch (thrown) {
    keep = run.hasBegun;
    reporter.error(thrown);
    const code = isMillraceError(thrown) ? (thrown.details.code ?? thrown.code) : undefined;
    return code === "ERR_JOURNAL_DAMAGED" ? EXIT.dataLost : EXIT.failure;
  } finally {
    if (keep) {
      place.keep();
      reporter.message(`kept for a closer look: journal ${place.directory}, ledgers ${place.ledgerDirectory}`);
    } else place.remove();
  }
}

class CrashRun {
  readonly #options: CrashOptions;
  readonly #place: Workplace;
  readonly #reporter: Reporter;
  readonly #generator: Generator;
  readonly #killAtMs: number[];
  readonly #lives: Life[] = [];
  readonly #stop: AbortSignal = signals.takeOver();
  #victim: Victim | undefined;
  #kills = 0;
  /** A process has taken records: what it left may be worth a look. */
  hasBegun = false;

  constructor(options: CrashOptions, place: Workplace, reporter: Reporter) {
    this.#options = options;
    this.#place = place;
    this.#reporter = reporter;
    this.#generator = new Generator({
      ratePerSecond: options.rate,
      seconds: options.seconds,
      payloadBytes: options.size,
      seed: options.seed,
    });
    this.#killAtMs = killTimes(options, seededRandom(options.seed));
  }

  async run(): Promise<CrashDocument> {
    try {
      return await this.#run();
    } finally {
      await this.#victim?.kill();
    }
  }

  async #run(): Promise<CrashDocument> {
    const generator = this.#generator;
    const first = await untilStopped(this.#startFirst(), this.#stop);
    if (first === STOPPED) return this.#document(0);
    this.hasBegun = true;
    let victim = first;
    const startedAt = performance.now();
    generator.start();
    while (!this.#stop.aborted && (!generator.isDone || this.#killAtMs.length > 0)) {
      const killAtMs = this.#killAtMs.shift() ?? Number.POSITIVE_INFINITY;
      await this.#untilKill(killAtMs);
      if (this.#stop.aborted || generator.elapsedMs() < killAtMs) break;
      await victim.kill();
      generator.disconnect();
      this.#kills += 1;
      victim = await this.#restart();
    }
    if (this.#stop.aborted) this.#reporter.message(STOPPING);
    await generator.answers();
    const seconds = (performance.now() - startedAt) / 1000;
    generator.disconnect();
    await victim.finish();
    return this.#document(seconds);
  }

  /** The first start, which isn't counted as a recovery. */
  async #startFirst(): Promise<Victim> {
    const victim = this.#start();
    await victim.listening();
    await this.#generator.connect(this.#place.socketPath);
    return victim;
  }

  #start(): Victim {
    this.#victim = new Victim(this.#place);
    return this.#victim;
  }

  /** Starts the process again; once more for each kill that comes while it recovers. */
  async #restart(): Promise<Victim> {
    for (;;) {
      const startedAt = performance.now();
      const victim = this.#start();
      const isKilledEarly = await this.#raceWithKill(victim);
      if (isKilledEarly) {
        this.#lives.push({ recoveryMs: undefined });
        continue;
      }
      this.#lives.push({ recoveryMs: performance.now() - startedAt });
      await this.#generator.connect(this.#place.socketPath);
      return victim;
    }
  }

  /**
   * Waits until the process takes records; kills it earlier when the next kill is due. Returns
   * whether it was killed.
   */
  async #raceWithKill(victim: Victim): Promise<boolean> {
    const listening = victim.listening();
    const dueMs = (this.#killAtMs[0] ?? Number.POSITIVE_INFINITY) - this.#generator.elapsedMs();
    if (dueMs > 60_000) {
      await listening;
      return false;
    }
    let timer: NodeJS.Timeout | undefined;
    const kill = new Promise<"kill">((resolve) => (timer = setTimeout(() => resolve("kill"), Math.max(dueMs, 0))));
    const first = await Promise.race([listening, kill]);
    clearTimeout(timer);
    if (first !== "kill") return false;
    this.#killAtMs.shift();
    this.#kills += 1;
    await victim.kill();
    await listening;
    return true;
  }

  async #untilKill(killAtMs: number): Promise<void> {
    const generator = this.#generator;
    await generator.sendUntil(() => {
      this.#reporter.progress(
        () =>
          `${grouped(generator.sent)} sent, ${grouped(generator.acknowledged)} acknowledged, ${this.#kills}/${this.#options.kills} kills`,
      );
      return this.#stop.aborted || generator.elapsedMs() >= killAtMs;
    });
    // The schedule is through, and the last kill is still to come.
    while (!this.#stop.aborted && generator.elapsedMs() < killAtMs && Number.isFinite(killAtMs))
      await new Promise((next) => setTimeout(next, 1));
  }

  #document(seconds: number): CrashDocument {
    const { seed, size, rate } = this.#options;
    const generator = this.#generator;
    const result = reconcile(generator.statuses, readLedgers(this.#place.ledgerDirectory), (id) =>
      payloadCrc(size, id, seed),
    );
    const recoveries = this.#lives.map((life) => life.recoveryMs).filter((ms) => ms !== undefined);
    const { directory } = this.#place;
    const segments = existsSync(directory) ? scanLog(new NodeStorage(directory)).segments : [];
    return {
      published: generator.sent,
      acknowledged: generator.acknowledged,
      handled: result.handled,
      duplicates: result.duplicates,
      lost: result.lost,
      ghosts: result.ghosts,
      unpromised: result.unpromised,
      rejected: generator.rejected,
      kills: this.#kills,
      recoveryMs: { median: round(median(recoveries), 1), max: round(Math.max(0, ...recoveries), 1) },
      killedWhileRecovering: this.#lives.length - recoveries.length,
      ackMs: latencyMs(generator.response),
      serviceMs: latencyMs(generator.service),
      acknowledgedPerSecond: seconds === 0 ? 0 : Math.round(generator.acknowledged / seconds),
      seconds: round(seconds, 1),
      rate,
      payloadBytes: size,
      interrupted: signals.received !== undefined,
      seed,
      lostIds: result.lostIds,
      ghostIds: result.ghostIds,
      journal: {
        segments: segments.length,
        records: segments.reduce((sum, segment) => sum + segment.records, 0),
        bytes: segments.reduce((sum, segment) => sum + segment.bytes, 0),
      },
    };
  }
}

/** Random moments, spread over the run; records are under way before the first one. */
function killTimes({ kills, seconds }: CrashOptions, random: Random): number[] {
  const spanMs = seconds * 1000;
  return Array.from({ length: kills }, (_, index) => ((index + 0.2 + 0.7 * random.fraction()) / kills) * spanMs);
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function verdictOf(document: CrashDocument, options: CrashOptions, reporter: Reporter): number {
  if (document.lost > 0 || document.ghosts > 0) {
    reporter.message(`acknowledged data was lost or altered: ${document.lost} lost, ${document.ghosts} ghosts`);
    return EXIT.dataLost;
  }
  if (signals.exitCode !== undefined) return signals.exitCode;
  if (document.kills < options.kills || document.acknowledged === 0) {
    reporter.message(
      `the run proves nothing: ${document.kills} of ${options.kills} kills, ${document.acknowledged} acknowledged`,
    );
    return EXIT.runInvalid;
  }
  return EXIT.ok;
}

function textOf(document: CrashDocument): string {
  return table([
    ["published", grouped(document.published)],
    ["acknowledged", grouped(document.acknowledged)],
    ["handled", grouped(document.handled)],
    ["handled again (legal)", grouped(document.duplicates)],
    ["handled, never acknowledged (legal)", grouped(document.unpromised)],
    ["LOST", grouped(document.lost)],
    ["GHOSTS", grouped(document.ghosts)],
    ["kills", `${document.kills}, of which ${document.killedWhileRecovering} during recovery`],
    ["recovery", `median ${duration(document.recoveryMs.median)}, max ${duration(document.recoveryMs.max)}`],
    ["acknowledged after due", latencyText(document.ackMs)],
    ["acknowledged after sent", latencyText(document.serviceMs)],
    ["acknowledged per second", grouped(document.acknowledgedPerSecond)],
    ["seed", String(document.seed)],
  ]);
}
