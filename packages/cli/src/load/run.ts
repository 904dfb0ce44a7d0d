/**
 * `millrace load run`: puts a runtime in a process of its own under open-loop load, and measures
 * its acknowledgements.
 */
import { EXIT } from "../terminal/exit-codes.ts";
import { cliError } from "../errors.ts";
import { Reporter } from "../terminal/reporter.ts";
import { signals } from "../terminal/signals.ts";
import { amount, duration, grouped, parseDurationMs, round, table } from "../terminal/units.ts";
import {
  createWorkplace,
  STOPPED,
  STOPPING,
  untilStopped,
  type Latency,
  latencyMs,
  latencyText,
  type LoadOptions,
  type Workplace,
} from "./common.ts";
import { Generator } from "./generator.ts";
import { Victim } from "./victim.ts";

export interface RunOptions extends LoadOptions {
  /** Targets such as `p99<20ms`. */
  readonly slo: readonly string[];
}

interface Target {
  readonly text: string;
  readonly percentile: keyof Latency;
  readonly limitMs: number;
}

interface RunDocument {
  readonly published: number;
  readonly acknowledged: number;
  readonly rejected: number;
  readonly rate: number;
  readonly achievedPerSecond: number;
  /** From when a record was due until it was acknowledged. */
  readonly responseMs: Latency | null;
  /** From when it was sent. */
  readonly serviceMs: Latency | null;
  /** From due to sent: how well the generator kept to its schedule. */
  readonly lagMs: Latency | null;
  readonly slo: readonly { readonly target: string; readonly met: boolean; readonly measuredMs: number | null }[];
  readonly valid: boolean;
  /** A signal has ended the run early. */
  readonly interrupted: boolean;
  readonly seconds: number;
  readonly payloadBytes: number;
  readonly seed: number;
}

/**
 * The run is invalid when the generator sent later than this, or fewer than this share of the
 * records.
 */
const LAG_P99_MS_MAX = 20;
const ACHIEVED_MIN = 0.99;

export async function loadRun(options: RunOptions): Promise<number> {
  const reporter = new Reporter(options);
  const targets = options.slo.map(parseTarget);
  const place = createWorkplace(options);
  try {
    const document = await measure(options, targets, place, reporter);
    reporter.result(document, () => textOf(document));
    return verdictOf(document, reporter);
  } catch (thrown) {
    reporter.error(thrown);
    return EXIT.failure;
  } finally {
    place.remove();
  }
}

/** `p99<20ms`. Throws `ERR_CLI_USAGE`. */
function parseTarget(text: string): Target {
  const match = /^(p50|p90|p99|p99\.9|max)<(.+)$/.exec(text.replaceAll(" ", ""));
  if (match === null) {
    throw cliError("ERR_CLI_USAGE", `--slo must be like p99<20ms, with p50, p90, p99, p99.9 or max, not "${text}"`);
  }
  const percentile = (match[1] as string).replace(".", "") as keyof Latency;
  return { text, percentile, limitMs: parseDurationMs(match[2] as string, "--slo", "1us") };
}

async function measure(
  options: RunOptions,
  targets: readonly Target[],
  place: Workplace,
  reporter: Reporter,
): Promise<RunDocument> {
  const generator = new Generator({
    ratePerSecond: options.rate,
    seconds: options.seconds,
    payloadBytes: options.size,
    seed: options.seed,
  });
  const stop = signals.takeOver();
  const victim = new Victim(place);
  try {
    if ((await untilStopped(victim.listening(), stop)) === STOPPED) return documentOf(options, targets, generator, 0);
    await generator.connect(place.socketPath);
    generator.start();
    await generator.sendUntil(() => {
      reporter.progress(() => `${grouped(generator.sent)} sent, ${grouped(generator.acknowledged)} acknowledged`);
      return !generator.isConnected || stop.aborted;
    });
    if (stop.aborted) reporter.message(STOPPING);
    await generator.answers();
    const seconds = generator.elapsedMs() / 1000;
    generator.disconnect();
    await victim.finish();
    return documentOf(options, targets, generator, seconds);
  } finally {
    generator.disconnect();
    await victim.kill();
  }
}

function documentOf(
  options: RunOptions,
  targets: readonly Target[],
  generator: Generator,
  seconds: number,
): RunDocument {
  const responseMs = latencyMs(generator.response);
  const lagMs = latencyMs(generator.lag);
  return {
    published: generator.sent,
    acknowledged: generator.acknowledged,
    rejected: generator.rejected,
    rate: options.rate,
    achievedPerSecond: seconds === 0 ? 0 : Math.round(generator.acknowledged / seconds),
    responseMs,
    serviceMs: latencyMs(generator.service),
    lagMs,
    slo: targets.map(({ text, percentile, limitMs }) => {
      const measuredMs = responseMs?.[percentile] ?? null;
      return { target: text, met: measuredMs !== null && measuredMs < limitMs, measuredMs };
    }),
    valid: lagMs !== null && lagMs.p99 <= LAG_P99_MS_MAX && generator.sent >= generator.total * ACHIEVED_MIN,
    interrupted: signals.received !== undefined,
    seconds: round(seconds, 1),
    payloadBytes: options.size,
    seed: options.seed,
  };
}

function verdictOf(document: RunDocument, reporter: Reporter): number {
  if (document.acknowledged + document.rejected < document.published) {
    reporter.message(
      `${amount(document.published - document.acknowledged - document.rejected, "record")} got no answer`,
    );
    return EXIT.failure;
  }
  if (signals.exitCode !== undefined) return signals.exitCode;
  if (!document.valid) {
    const late = document.lagMs === null ? "sent nothing" : `was up to ${duration(document.lagMs.p99)} late (p99)`;
    reporter.message(`the run proves nothing: the generator ${late}; try a lower --rate`);
    return EXIT.runInvalid;
  }
  const missed = document.slo.filter((target) => !target.met);
  for (const { target, measuredMs } of missed)
    reporter.message(`missed ${target}: ${measuredMs === null ? "nothing measured" : duration(measuredMs)}`);
  return missed.length > 0 ? EXIT.targetMissed : EXIT.ok;
}

function textOf(document: RunDocument): string {
  return table([
    ["published", grouped(document.published)],
    ["acknowledged", grouped(document.acknowledged)],
    ["rejected", grouped(document.rejected)],
    ["acknowledged per second", `${grouped(document.achievedPerSecond)} (offered ${grouped(document.rate)})`],
    ["response (due to acknowledged)", latencyText(document.responseMs)],
    ["service (sent to acknowledged)", latencyText(document.serviceMs)],
    ["generator's lag (due to sent)", latencyText(document.lagMs)],
    ["seed", String(document.seed)],
    ...document.slo.map(({ target, met }) => [target, met ? "met" : "missed"] as const),
  ]);
}
