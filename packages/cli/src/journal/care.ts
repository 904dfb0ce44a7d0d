/**
 * `millrace journal gaps` and `repair`: list what is missing, and fill it.
 */
import { RangeSet } from "@millrace/intake";
import { RECORD_TYPE } from "@millrace/journal";
import {
  gapOutside,
  type Gap,
  lockDirectory,
  RecordCursor,
  repairLog,
  scanLog,
  surveyLog,
} from "@millrace/journal/kernel";
import { cliError } from "../errors.ts";
import { EXIT } from "../terminal/exit-codes.ts";
import { Reporter } from "../terminal/reporter.ts";
import { amount } from "../terminal/units.ts";
import { type JournalCommandOptions, readingOf, storageOf } from "./place.ts";

export interface RepairOptions extends JournalCommandOptions {
  readonly acceptLoss: string;
}

interface GapDocument {
  readonly file: string;
  readonly offset: number;
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly reason: string;
}

function gapDocument({ file, offset, firstSequence, lastSequence, reason }: Gap): GapDocument {
  return { file, offset, firstSequence, lastSequence, reason };
}

function gapText({ file, offset, firstSequence, lastSequence, reason }: GapDocument): string {
  const what =
    lastSequence < firstSequence
      ? "no record"
      : `${amount(lastSequence - firstSequence + 1, "record")}, ${firstSequence}-${lastSequence}`;
  return `  ${what}: ${file} at offset ${offset}: ${reason}`;
}

/**
 * Lists the records that are missing, and those that earlier repairs gave up. Exit code 3 when any
 * are missing.
 */
export function gaps(options: JournalCommandOptions): number {
  const reporter = new Reporter(options);
  const givenUp = new RangeSet();
  const cursor = new RecordCursor();
  const survey = readingOf(options.dir, (storage) =>
    surveyLog(storage, (_, batch, body) => {
      cursor.reset(body, batch.firstSequence);
      while (cursor.next()) if (cursor.type === RECORD_TYPE.lost) givenUp.add(cursor.sequence);
    }),
  );
  const document = {
    directory: options.dir,
    firstSequence: survey.firstSequence,
    lastSequence: survey.lastSequence,
    gaps: survey.gaps.map(gapDocument),
    givenUp: Array.from({ length: givenUp.ranges }, (_, index) => givenUp.range(index)),
  };
  reporter.result(document, () =>
    [
      document.gaps.length === 0 ? "nothing is missing" : "missing:",
      ...document.gaps.map(gapText),
      ...(document.givenUp.length === 0 ? [] : ["given up by earlier repairs:"]),
      ...document.givenUp.map(([first, last]) => `  records ${first}-${last}`),
    ].join("\n"),
  );
  return document.gaps.length === 0 ? EXIT.ok : EXIT.dataLost;
}

/**
 * Fills the gaps if all their records lie in the accepted range; otherwise changes nothing, exit
 * code 3.
 */
export function repair(options: RepairOptions): number {
  const reporter = new Reporter(options);
  const [first, last] = rangeOf(options.acceptLoss);
  const storage = storageOf(options.dir);
  const unlock = lockDirectory(options.dir);
  try {
    const survey = surveyLog(storage);
    const outside = gapOutside(survey, first, last);
    if (outside !== undefined) {
      const missing = survey.gaps.map(gapDocument);
      reporter.result({ repaired: false, directory: options.dir, gaps: missing }, () =>
        ["nothing was changed: more is missing than was accepted", ...missing.map(gapText)].join("\n"),
      );
      return EXIT.dataLost;
    }
    const summary = repairLog(storage, Date.now());
    // Throws if the repaired log isn't sound.
    const { segments } = scanLog(storage);
    const document = {
      repaired: summary.gaps.length > 0,
      directory: options.dir,
      lost: summary.lost,
      gaps: summary.gaps.map(gapDocument),
      quarantined: summary.quarantined,
      lastSequence: segments.at(-1)?.end.lastSequence ?? 0,
    };
    reporter.result(document, () =>
      document.repaired
        ? [
            `given up: ${amount(document.lost, "record")}`,
            ...document.gaps.map(gapText),
            ...document.quarantined.map((name) => `  kept: ${name}`),
          ].join("\n")
        : "there is nothing to repair",
    );
    return EXIT.ok;
  } finally {
    unlock();
  }
}

function rangeOf(text: string): [first: number, last: number] {
  const match = /^(\d+)(?:-(\d+))?$/.exec(text);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (match !== null && first >= 1 && last >= first) return [first, last];
  throw cliError("ERR_CLI_USAGE", `--accept-loss must be a sequence or a range such as 120-135, not "${text}"`);
}
