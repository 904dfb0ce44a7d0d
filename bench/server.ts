/**
 * A server of a benchmark's own, as a child process. It ends when it is closed, and also when the
 * benchmark is killed: a shell holds one end of a pipe, and ends the server when the other is gone.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

/** How long a server may take to listen. */
const START_MS = 20_000;
const LOOK_MS = 10;

export interface ServerProcess {
  readonly exitCode: () => number | null;
  readonly close: () => Promise<void>;
}

export interface ServerOptions {
  /** The signal that asks it to end. */
  readonly signal: "TERM";
  /** The owner of the process; without it the benchmark's own user. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
}

const WATCH = `"$@" & server=$!; read -r _; kill -s "$0" $server; wait $server`;

export function startServer(command: string, args: readonly string[], options: ServerOptions): ServerProcess {
  const shell = spawn("sh", ["-c", WATCH, options.signal, command, ...args], {
    stdio: ["pipe", "ignore", "inherit"],
    ...options.owner,
  });
  return {
    exitCode: () => shell.exitCode,
    close: async () => {
      shell.stdin.end();
      if (shell.exitCode === null) await once(shell, "exit");
    },
  };
}

/** Calls `attempt` until it resolves; its last rejection when the server isn't there in time. */
export async function whenListening<T>({ exitCode }: ServerProcess, attempt: () => Promise<T>): Promise<T> {
  const until = performance.now() + START_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (thrown) {
      if (exitCode() !== null || performance.now() > until) throw thrown;
      await sleep(LOOK_MS);
    }
  }
}
