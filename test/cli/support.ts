// Running the command as a user does.
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

export const launcher: string = fileURLToPath(new URL("../../../packages/cli/bin/millrace.mjs", import.meta.url));

export interface Outcome {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly input?: string | Buffer;
  /** More input could come: the command's end isn't the end of its input. */
  readonly keepsInputOpen?: boolean;
  readonly env?: Record<string, string>;
  readonly onStart?: (child: ChildProcess) => void;
}

/** Runs `millrace` with these arguments until it ends. */
export function millrace(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [launcher, ...args], {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => (stdout += String(chunk)));
    child.stderr.on("data", (chunk) => (stderr += String(chunk)));
    // A command that doesn't read its input may be gone before we have written it.
    child.stdin.on("error", () => {});
    if (options.keepsInputOpen === true) child.stdin.write(options.input ?? "");
    else child.stdin.end(options.input ?? "");
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
    options.onStart?.(child);
  });
}

/** The document on stdout; fails when there is anything else. */
export function documentOf<T = Record<string, unknown>>(outcome: Outcome): T {
  return JSON.parse(outcome.stdout) as T;
}
