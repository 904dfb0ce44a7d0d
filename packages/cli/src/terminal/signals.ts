/**
 * SIGINT, SIGTERM and SIGHUP, from the first moment of the command on (the launcher imports this
 * file before all others).
 *
 * A command that can stop in good order asks for `takeOver`: the first signal then aborts that, and
 * the second ends the process. Without it the first signal ends the process. A command that blocks
 * its event loop asks for `release`, because no listener could run.
 */
const EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

export type StopSignal = keyof typeof EXIT_CODES;

const SIGNALS = Object.keys(EXIT_CODES) as StopSignal[];

class Signals {
  readonly #stop = new AbortController();
  #beforeExit: (() => void) | undefined;
  #received: StopSignal | undefined;
  #isTakenOver = false;

  constructor() {
    for (const signal of SIGNALS) process.on(signal, this.#listener);
  }

  /** The first signal that has come. */
  get received(): StopSignal | undefined {
    return this.#received;
  }

  /** The exit code of a command that the first signal has stopped; undefined without one. */
  get exitCode(): number | undefined {
    return this.#received === undefined ? undefined : EXIT_CODES[this.#received];
  }

  /** The first signal, which may have come already, aborts this instead of ending the process. */
  takeOver(): AbortSignal {
    this.#isTakenOver = true;
    return this.#stop.signal;
  }

  /**
   * The system's own handling again: a signal ends the process at once, even in the midst of
   * synchronous work.
   */
  release(): void {
    for (const signal of SIGNALS) process.off(signal, this.#listener);
    if (this.#received !== undefined) this.#end(this.#received);
  }

  /**
   * The command is loaded: a signal, which may have come already, ends the process after
   * `beforeExit`, which is synchronous.
   */
  ready(beforeExit: () => void): void {
    this.#beforeExit = beforeExit;
    if (this.#received !== undefined) this.#end(this.#received);
  }

  readonly #listener = (signal: NodeJS.Signals): void => {
    const isSecond = this.#received !== undefined;
    this.#received ??= signal as StopSignal;
    if (this.#isTakenOver && !isSecond) this.#stop.abort();
    // Before the command is loaded a first signal waits for it, so that it can say how it ends.
    else if (isSecond || this.#beforeExit !== undefined) this.#end(signal as StopSignal);
  };

  #end(signal: StopSignal): never {
    this.#beforeExit?.();
    process.exit(EXIT_CODES[signal]);
  }
}

export const signals: Signals = new Signals();
