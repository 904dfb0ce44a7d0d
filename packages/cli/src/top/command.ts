/** `millrace top DIR`: a running service at a glance, through its control socket. */
import { setTimeout as sleep } from "node:timers/promises";
import type { MetricFamily } from "@millrace/metrics";
import { type Figures, figuresOf, type Reading } from "@millrace/runtime";
import { cliError } from "../errors.ts";
import { storageOf } from "../journal/place.ts";
import { Service } from "../journal/service.ts";
import { OutputReaders } from "../terminal/closed-pipes.ts";
import { EXIT } from "../terminal/exit-codes.ts";
import { Reporter, type ReporterOptions } from "../terminal/reporter.ts";
import { signals } from "../terminal/signals.ts";
import { duration, grouped, table } from "../terminal/units.ts";

export interface TopOptions extends ReporterOptions {
  readonly once?: boolean;
  readonly interval: number;
}

const BAR = 20;
/** Whether anybody reads on is looked at this often. */
const LOOK_MS = 200;
const MEBI: number = 2 ** 20;

/** With `--once` or `--json` one picture; otherwise a new one each interval until a signal. */
export async function top(directory: string, options: TopOptions): Promise<number> {
  const signal = signals.takeOver();
  const reporter = new Reporter(options);
  storageOf(directory);
  const service = await Service.of(directory);
  if (service === undefined) {
    throw cliError("ERR_SERVICE_STOPPED", `no service has ${directory} open with a control socket`, {
      details: { directory },
    });
  }
  signal.addEventListener("abort", () => service.close());
  const isOnce = options.once === true || reporter.isJson;
  const readers = isOnce ? undefined : new OutputReaders();
  const isTerminal = process.stdout.isTTY && process.env.TERM !== "dumb";
  try {
    let before = await readingOf(service);
    // Ends: after one picture, at a signal, when nobody reads, or when the service is gone.
    for (;;) {
      await pause(options.interval, signal, () => readers?.areGone() === true);
      if (readers?.areGone() === true) return EXIT.ok;
      const now = await readingOf(service);
      const figures = figuresOf(before, now);
      before = now;
      if (isOnce) {
        reporter.result({ directory, at: new Date(now.atMs).toISOString(), ...figures }, () =>
          picture(directory, figures),
        );
        return EXIT.ok;
      }
      process.stdout.write(`${isTerminal ? "\x1b[H\x1b[J" : ""}${picture(directory, figures)}\n`);
    }
  } catch (thrown) {
    // A signal has closed the connection.
    if (signals.exitCode === undefined) throw thrown;
    return signals.exitCode;
  } finally {
    service.close();
  }
}

/** Waits, at most until `isOver`. Rejects when the signal aborts. */
async function pause(ms: number, signal: AbortSignal, isOver: () => boolean): Promise<void> {
  const end = performance.now() + ms;
  // Ends: each turn brings the end nearer.
  for (let leftMs = ms; leftMs > 0 && !isOver(); leftMs = end - performance.now()) {
    await sleep(Math.min(leftMs, LOOK_MS), undefined, { signal });
  }
}

async function readingOf(service: Service): Promise<Reading> {
  const families = new Map<string, MetricFamily>();
  await service.ask("metrics", {}, async (item) => {
    const family = item as MetricFamily;
    families.set(family.name, family);
  });
  return { atMs: Date.now(), families };
}

/** For people. */
function picture(directory: string, figures: Figures): string {
  const { perSecond, records, journal, workers } = figures;
  const rate = (value: number): string => `${grouped(value)}/s`;
  const state = figures.isReady ? "ready" : "NOT READY";
  const problems = figures.problems.length === 0 ? "" : `  ${figures.problems.join(" ")}`;
  const free = journal.freeBytes === undefined ? "unknown" : `${grouped(journal.freeBytes / MEBI)} MiB free`;
  const rows: [string, string][] = [
    [
      "records",
      `stored ${rate(perSecond.stored)}  done ${rate(perSecond.done)}  retried ${rate(perSecond.retried)}  dead ${rate(perSecond.dead)}  refused ${rate(perSecond.rejected)}`,
    ],
    [
      "unfinished",
      `${grouped(records.unfinished)}: running ${grouped(records.running)}, retry ${grouped(records.waitingRetry)}, key ${grouped(records.waitingKey)}, held ${grouped(records.held)}, no handler ${grouped(records.unroutable)}`,
    ],
    ["waiting", `the oldest for ${duration(records.oldestMs)}; level ${figures.level}`],
    ["dead letters", grouped(records.dead)],
    [
      "journal",
      `${rate(perSecond.syncs)} syncs of ${duration(journal.syncMeanMs)}, ${grouped(journal.recordsPerBatch)} records each, ${grouped(perSecond.bytes / 1024)} KiB/s`,
    ],
    [
      "",
      `durable up to ${grouped(journal.durableSequence)}, finished up to ${grouped(journal.finishedUpTo)}, segment ${journal.segment}, ${free}`,
    ],
    ["tasks", `${rate(perSecond.tasks)}; event loop delay ${duration(figures.eventLoopDelayMs)}`],
    [
      "threads",
      `${workers.running} running, ${workers.parked} parked, ${workers.spare} spare, ${workers.restarts} replaced`,
    ],
    ...workers.busy.map((share, worker): [string, string] => [`worker ${worker}`, bar(share)]),
  ];
  return `millrace ${figures.version}  Node ${figures.node}  ${directory}  ${state}${problems}\n${table(rows)}`;
}

function bar(share: number): string {
  const full = Math.round(share * BAR);
  return `${"#".repeat(full)}${".".repeat(BAR - full)} ${String(Math.round(share * 100)).padStart(3)} %`;
}
