/** Handles the malformed parts of the input: they end the run, or are counted and reported. */
import { cliError } from "../errors.ts";
import type { Reporter } from "../terminal/reporter.ts";
import type { Source } from "./feed.ts";
import type { Mistakes } from "./report.ts";
import type { Malformed } from "./splitter.ts";

/** Malformed parts that are printed one by one; further ones are only counted. */
const SHOWN_MAX = 20;
/** Most problems that are counted apart, and most lines beside each. */
const PROBLEMS_MAX = 5;
const LINES_MAX = 5;

export class MistakeLog {
  readonly #reporter: Reporter;
  readonly #most: number;
  readonly #problems = new Map<string, { count: number; lines: number[] }>();
  #count = 0;

  /** `most`: with one more the run ends. */
  constructor(reporter: Reporter, most: number) {
    this.#reporter = reporter;
    this.#most = most;
  }

  /** Throws `ERR_INGEST_MALFORMED`. */
  add({ name, format }: Source, { number, line, offset, problem, bytes, lines }: Malformed): void {
    this.#count += 1;
    const element = format === "json" ? `element ${number}, ` : "";
    const text = `${element}line ${line}, byte ${offset}: ${problem}`;
    if (this.#count > this.#most) {
      const limit = this.#most === 0 ? "" : `; more than ${this.#most} parts are malformed`;
      throw cliError("ERR_INGEST_MALFORMED", `${text}${limit}`, {
        details: {
          source: name,
          line,
          offset,
          number,
          problem,
          ...(format === "json" ? { afterElement: number - 1 } : {}),
        },
      });
    }
    this.#note(problem, line);
    const size = lines > 1 ? ` (${lines} lines, ${bytes} bytes)` : "";
    if (this.#count <= SHOWN_MAX) this.#reporter.message(`skipped ${text}${size}`);
    if (this.#count === SHOWN_MAX) this.#reporter.message("further ones are only counted");
  }

  #note(problem: string, line: number): void {
    const known = this.#problems.get(problem);
    if (known === undefined && this.#problems.size === PROBLEMS_MAX) return;
    const entry = known ?? { count: 0, lines: [] };
    this.#problems.set(problem, entry);
    entry.count += 1;
    if (entry.lines.length < LINES_MAX) entry.lines.push(line);
  }

  /** The first few problems, each with how often it came. */
  summary(): readonly Mistakes[] {
    return [...this.#problems].map(([problem, { count, lines }]) => ({ problem, count, lines }));
  }
}
