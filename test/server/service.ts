// `millrace serve` as a process of its own.
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { launcher } from "../cli/support.ts";

const handlersFile = fileURLToPath(new URL("../../../test/fixtures/ledger-handlers.mjs", import.meta.url));

export interface Service {
  readonly child: ChildProcess;
  readonly url: string;
  readonly adminUrl: string;
  readonly pageUrl: string;
  readonly framePort: number | undefined;
  /** Resolves when the process has ended. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>;
}

/** Resolves when it serves. */
export function startService(directory: string, ledger: string, options: readonly string[] = []): Promise<Service> {
  return new Promise((resolve, reject) => {
    const where = ["--handlers", handlersFile, "--dir", directory, "--port", "0", "--admin-port", "0"];
    const child = spawn(process.execPath, [launcher, "serve", ...where, "--json", ...options], {
      env: { ...process.env, MILLRACE_TEST_LEDGER: ledger },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const ended = new Promise<{ code: number | null; signal: string | null }>((end) =>
      child.once("close", (code, signal) => end({ code, signal })),
    );
    let stdout = "";
    let stderr = "";
    child.stderr.on("data", (chunk) => (stderr += String(chunk)));
    child.stdout.on("data", (chunk) => {
      stdout += String(chunk);
      try {
        const places = JSON.parse(stdout) as Pick<Service, "url" | "adminUrl" | "pageUrl" | "framePort">;
        resolve({ ...places, child, ended });
      } catch {
        // The document isn't complete.
      }
    });
    void ended.then(({ code, signal }) => reject(new Error(`ended with ${code ?? signal}: ${stdout}${stderr}`)));
  });
}
