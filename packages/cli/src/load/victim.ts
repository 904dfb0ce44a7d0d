/** Starts, watches and kills the process under test. */
import { type ChildProcess, fork } from "node:child_process";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { workerUrl } from "@millrace/base";
import { cliError } from "../errors.ts";
import type { VictimReport } from "./victim.worker.ts";

export interface VictimPlace {
  readonly directory: string;
  /** The run's directory for temporary files; the victim removes it when its parent has died. */
  readonly base: string;
  readonly socketPath: string;
  readonly ledgerDirectory: string;
  readonly processors: number;
  readonly verbose: boolean;
}

type Listening = Extract<VictimReport, { listening: true }>;
type Finished = Extract<VictimReport, { finished: true }>;

/** Longest start, with the recovery of a large journal. */
const START_MS = 60_000;
/** Longest time to handle the records that are left and to close. */
const FINISH_MS = 120_000;

export class Victim {
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #reports: VictimReport[] = [];
  #onReport: (() => void) | undefined;
  #isKilled = false;
  readonly #killAtExit = (): void => void this.#child.kill("SIGKILL");
  #hasExited = false;

  constructor(place: VictimPlace) {
    const entry = fileURLToPath(workerUrl("./victim.worker", import.meta.url));
    this.#child = fork(entry, [place.directory, place.socketPath, String(place.processors), place.base], {
      env: {
        ...process.env,
        MILLRACE_LOAD_LEDGER: place.ledgerDirectory,
        // No other run has a directory of this name.
        MILLRACE_LOAD_RUN: basename(place.base),
      },
      stdio: ["ignore", place.verbose ? 2 : "ignore", place.verbose ? 2 : "ignore", "ipc"],
    });
    process.once("exit", this.#killAtExit);
    this.#child.on("message", (report: VictimReport) => {
      this.#reports.push(report);
      this.#onReport?.();
    });
    this.#exited = new Promise((resolve) => {
      this.#child.once("exit", () => {
        this.#hasExited = true;
        process.off("exit", this.#killAtExit);
        this.#onReport?.();
        resolve();
      });
    });
  }

  /**
   * Resolves when the process takes records; undefined when it was killed first. Throws
   * `ERR_LOAD_VICTIM`.
   */
  listening(): Promise<Listening | undefined> {
    return this.#report("listening", START_MS) as Promise<Listening | undefined>;
  }

  /** Has the process handle all records, close and exit. Connections must be closed before. */
  async finish(): Promise<Finished> {
    this.#child.send("finish");
    const finished = (await this.#report("finished", FINISH_MS)) as Finished;
    await this.#exited;
    return finished;
  }

  /** Sends SIGKILL if the process still runs; resolves when it is gone. */
  async kill(): Promise<void> {
    this.#isKilled = true;
    this.#child.kill("SIGKILL");
    await this.#exited;
  }

  async #report(kind: "listening" | "finished", limitMs: number): Promise<VictimReport | undefined> {
    const end = performance.now() + limitMs;
    for (;;) {
      const report = this.#reports.shift();
      if (report !== undefined && kind in report) return report;
      if (report !== undefined && "failed" in report) throw victimError(report.failed, report.code);
      if (report !== undefined) continue;
      if (this.#hasExited) {
        if (this.#isKilled) return undefined;
        throw victimError("it ended by itself", undefined);
      }
      if (performance.now() > end) throw victimError(`it was not ${kind} within ${limitMs / 1000} s`, undefined);
      await this.#nextReport(end - performance.now());
    }
  }

  #nextReport(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.#onReport = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

function victimError(text: string, code: string | undefined): Error {
  return cliError("ERR_LOAD_VICTIM", `the process under test: ${text}`, { details: { code } });
}
