// The process that appends until it is killed, and the ledger of its acknowledgements, which
// outlives it.
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { Journal } from "@millrace/journal";
import { until } from "../support.ts";

const SCRIPT = fileURLToPath(new URL("../fixtures/journal-appender.js", import.meta.url));
/** Numbers that one process may use. */
const NUMBERS = 1_000_000;

export class Appender {
  readonly #child: ChildProcess;
  readonly #exited: Promise<{ code: number | null; output: string }>;
  readonly #ledger: Ledger;
  #rest = "";

  constructor(directory: string, process_: number, segmentBytesMax: number, ledger: Ledger) {
    this.#ledger = ledger;
    const args = [SCRIPT, directory, String(process_ * NUMBERS), String(segmentBytesMax)];
    this.#child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    let errors = "";
    this.#child.stderr?.on("data", (chunk) => (errors += String(chunk)));
    this.#child.stdout?.on("data", (chunk) => this.#read(String(chunk)));
    this.#exited = new Promise((resolve) => {
      this.#child.once("close", (code) => resolve({ code, output: errors }));
    });
  }

  /** Waits until the ledger has grown by `count` records. */
  async acknowledges(count: number): Promise<void> {
    const before = this.#ledger.acked.size;
    let ended: string | undefined;
    void this.#exited.then(({ output }) => (ended = output));
    await until(() => ended !== undefined || this.#ledger.acked.size >= before + count, "the process appends");
    assert.is(ended, undefined, `the process ended by itself: ${ended}`);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /**
   * Kills the process. Fails if it has ended by itself before, for instance because it could not
   * open the journal.
   */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    const { code, output } = await this.#exited;
    assert.is(code, null, `the process ended by itself: ${output}`);
  }

  #read(chunk: string): void {
    const lines = (this.#rest + chunk).split("\n");
    // The last line may be cut off.
    this.#rest = lines.pop() as string;
    for (const line of lines) {
      const [number, sequence] = line.split(" ").map(Number);
      this.#ledger.acked.set(sequence as number, number as number);
    }
  }
}

/** The acknowledged records, over all processes: sequence → number. */
export class Ledger {
  readonly acked: Map<number, number>;

  constructor(acked: ReadonlyMap<number, number> = new Map()) {
    this.acked = new Map(acked);
  }

  /** As it is now. */
  copy(): Ledger {
    return new Ledger(this.acked);
  }

  /**
   * Opens the directory, and checks that every acknowledged record is there, no number twice, and
   * nothing that nobody appended. Returns the number of records.
   */
  async reconcile(directory: string): Promise<number> {
    const journal = await Journal.open({ directory });
    const numbers = new Set<number>();
    let last = 0;
    try {
      for await (const record of journal.read()) {
        last += 1;
        assert.is(record.sequence, last);
        const text = record.payload.toString();
        const number = Number(text.split(" ")[1]);
        assert.is(text, `record ${number} ${"x".repeat(number % 500)}`, `sequence ${last}`);
        assert.not.ok(numbers.has(number), `record ${number} is there twice`);
        numbers.add(number);
        const expected = this.acked.get(last);
        if (expected !== undefined) assert.is(number, expected, `sequence ${last}`);
      }
      const highest = Math.max(0, ...this.acked.keys());
      assert.ok(last >= highest, `sequence ${highest} was acknowledged, ${last} is the last that is there`);
    } finally {
      await journal.close();
    }
    return last;
  }
}
