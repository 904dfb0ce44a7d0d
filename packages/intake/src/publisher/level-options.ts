/** When an intake takes nothing for a while: what its user says, and the marks that follow. */
import { integer, optional, optionsObject, resolveOptions, type Rules } from "@millrace/base";
import type { WaterMarks } from "./water.ts";
import { countMarks, freeMarks, type Marks } from "./water-level.ts";

/** Records: nothing is taken from `high` on, until `low` again. */
export interface CountMarks {
  readonly high: number;
  /** From 0 to below `high`. Default half of it. */
  readonly low?: number;
}

/** Free bytes of the disk: nothing is taken below `freeBytesMin`. */
export interface DiskMarks {
  readonly freeBytesMin: number;
  /** Until there are this many free bytes again. Default: a quarter more. */
  readonly freeBytesResume?: number;
}

/** When the intake takes nothing for a while. A ring without room and a full disk always count. */
export interface LevelOptions {
  /** Records that were published and aren't durable yet. Default: as many as `ringBytes` takes. */
  readonly ring?: CountMarks;
  /** Records that aren't finished, dead or expired, and those on their way. Default: no limit. */
  readonly unfinished?: CountMarks;
  /** Default: no limit but a full disk, which rejects with `ERR_JOURNAL_FULL`. */
  readonly disk?: DiskMarks;
}

const rules = {
  ring: optional(optionsObject<CountMarks>()),
  unfinished: optional(optionsObject<CountMarks>()),
  disk: optional(optionsObject<DiskMarks>()),
} satisfies Rules;

/** Half of the numbers that two threads count with. */
const COUNT_MAX: number = 2 ** 30;
const BYTES_MAX: number = Number.MAX_SAFE_INTEGER;
const TEXTBOOK: LevelOptions = { ring: { high: 1000, low: 500 }, unfinished: { high: 1000, low: 500 } };

/** Throws `ERR_INVALID_OPTION`. */
export function levelMarks(given: "textbook" | LevelOptions = {}): WaterMarks {
  const { ring, unfinished, disk } = resolveOptions("levels", rules, given === "textbook" ? TEXTBOOK : given);
  return {
    ring: ring && countMarksOf("levels.ring", ring),
    unfinished: unfinished && countMarksOf("levels.unfinished", unfinished),
    disk: disk && diskMarksOf("levels.disk", disk),
  };
}

function countMarksOf(owner: string, given: CountMarks): Marks {
  const known = { high: integer(1, COUNT_MAX), low: optional(integer(0, COUNT_MAX)) };
  const { high, low } = resolveOptions(owner, known, given);
  const below = resolveOptions(owner, { low: integer(0, high - 1, Math.floor(high / 2)) }, { low });
  return countMarks(high, below.low);
}

function diskMarksOf(owner: string, given: DiskMarks): Marks {
  const known = { freeBytesMin: integer(1, BYTES_MAX), freeBytesResume: optional(integer(1, BYTES_MAX)) };
  const { freeBytesMin: min, freeBytesResume } = resolveOptions(owner, known, given);
  const above = { freeBytesResume: integer(min + 1, BYTES_MAX, Math.ceil(min * 1.25)) };
  return freeMarks(min, resolveOptions(owner, above, { freeBytesResume }).freeBytesResume);
}
