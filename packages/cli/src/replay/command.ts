/** `millrace replay`: publishes recorded payloads again, of an intake that runs or doesn't. */
import { withTarget } from "../dlq/target.ts";
import { EXIT } from "../terminal/exit-codes.ts";
import { Reporter, type ReporterOptions } from "../terminal/reporter.ts";
import { amount, grouped } from "../terminal/units.ts";
import { type End, endMembers, given } from "./ends.ts";

export interface ReplayCommandOptions extends ReporterOptions {
  readonly name?: string;
  readonly from?: End;
  readonly to?: End;
  readonly handler?: readonly string[];
  readonly key?: string;
  readonly priority?: string;
  readonly toHandler?: string;
  readonly rate?: number;
  readonly dryRun?: boolean;
}

interface Replayed {
  readonly name: string;
  readonly matched: number;
  readonly published: number;
  readonly publishedBefore: number;
  readonly handlers: Readonly<Record<string, number>>;
}

export function replay(directory: string, options: ReplayCommandOptions): Promise<number> {
  const { name, handler, key, priority, toHandler, rate, dryRun = false } = options;
  const filter = given({ handler, key, priority });
  const asked = given({
    name,
    ...endMembers(options),
    filter: Object.keys(filter).length === 0 ? undefined : filter,
    handler: toHandler,
    ratePerSecond: rate,
  });
  const reporter = new Reporter(options);
  return withTarget(directory, async (target) => {
    const replayed = (await target.ask("replay", { ...asked, dryRun })) as Replayed;
    reporter.result({ directory, isRunning: target.isRunning, dryRun, ...replayed }, () => textOf(replayed, dryRun));
    return EXIT.ok;
  });
}

function textOf({ matched, published, publishedBefore, handlers }: Replayed, dryRun: boolean): string {
  const each = Object.entries(handlers).map(([name, count]) => `${name} ${grouped(count)}`);
  const of = each.length === 0 ? "" : ` (${each.join(", ")})`;
  const before = publishedBefore === 0 ? "" : `; ${amount(publishedBefore, "was", "were")} published before`;
  if (dryRun) return `${amount(matched - publishedBefore, "record")} would be published again${of}${before}`;
  return `${amount(published, "record")} published again${of}${before}`;
}
