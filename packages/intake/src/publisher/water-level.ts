/**
 * How full something is, in three levels with hysteresis.
 *
 *   used    0 ─── calm ─── low ─── high ──►
 *   rising            ok  │ slow  │ reject      from `low` on slow, from `high` on reject
 *   falling    ok   │ slow │    reject          reject until `low`, slow until `calm`
 *
 * Without the two ways a level near a mark would change with every record.
 */

/** "slow": more comes than goes. "reject": nothing is taken until the level has fallen. */
export type Level = "ok" | "slow" | "reject";

export interface Marks {
  /** From here on nothing is taken. */
  readonly high: number;
  /** Down to here nothing is taken; below `high`. */
  readonly low: number;
  /** Down to here it is still slow; at most `low`. */
  readonly calm: number;
}

const SEVERITY: Readonly<Record<Level, number>> = { ok: 0, slow: 1, reject: 2 };

/** The graver of two. */
export function graver(left: Level, right: Level): Level {
  return SEVERITY[left] >= SEVERITY[right] ? left : right;
}

/** Marks of a count: it is calm at half of `low`. */
export function countMarks(high: number, low: number): Marks {
  return { high, low, calm: Math.floor(low / 2) };
}

/**
 * Marks of free bytes, counted downwards: nothing is taken below `min`, until there are `resume`
 * again; it is calm as far above that again.
 */
export function freeMarks(min: number, resume: number): Marks {
  return { high: -min, low: -resume, calm: -resume - (resume - min) };
}

export class WaterLevel {
  readonly marks: Marks;
  level: Level = "ok";
  used: number = -Infinity;

  constructor(marks: Marks) {
    this.marks = marks;
  }

  /** Takes note of how much is used now; the level. */
  update(used: number): Level {
    const { high, low, calm } = this.marks;
    this.used = used;
    if (used >= high || (this.level === "reject" && used > low)) this.level = "reject";
    else if (used > calm && (this.level !== "ok" || used >= low)) this.level = "slow";
    else this.level = "ok";
    return this.level;
  }
}
