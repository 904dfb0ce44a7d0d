// Helpers for several tests.
import { mkdirSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isMillraceError } from "@millrace/base";

/** The handlers in fixtures/handlers.ts, as they were compiled. */
export const handlersUrl: URL = new URL("./fixtures/handlers.js", import.meta.url);

/** Asserts that `promise` rejects with an error of Millrace of this code, and returns it. */
export async function rejectsWith(
  promise: Promise<unknown>,
  code: string,
): Promise<Error & { details: Record<string, unknown> }> {
  try {
    await promise;
  } catch (thrown) {
    assert.ok(isMillraceError(thrown), `expected ${code}, got ${String(thrown)}`);
    assert.is(thrown.code, code);
    return thrown as never;
  }
  throw new Error(`expected ${code}, but nothing was thrown`);
}

/** Asserts that `run` throws an error of Millrace of this code, and returns it. */
export function throwsWith(run: () => unknown, code: string): Error & { details: Record<string, unknown> } {
  try {
    run();
  } catch (thrown) {
    assert.ok(isMillraceError(thrown), `expected ${code}, got ${String(thrown)}`);
    assert.is(thrown.code, code);
    return thrown as never;
  }
  throw new Error(`expected ${code}, but nothing was thrown`);
}

/**
 * Waits until `condition` holds; fails after `limitMs`. For states that only another thread or
 * process can bring about.
 */
export async function until(condition: () => boolean, what: string, limitMs = 20_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`${what}: not within ${limitMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const TMPFS = 0x01021994;

/**
 * The system's directory for temporary files, unless that is memory: a journal refuses to live
 * there.
 */
function temporaryRoot(): string {
  if (process.platform !== "linux" || statfsSync(tmpdir()).type !== TMPFS) return tmpdir();
  const root = fileURLToPath(new URL("../tmp", import.meta.url));
  mkdirSync(root, { recursive: true });
  return root;
}

const directories: string[] = [];
process.once("exit", () => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

/** An empty directory that is gone when the process ends. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(temporaryRoot(), "millrace-test-"));
  directories.push(directory);
  return directory;
}

/**
 * Registers tests that count as skipped where `condition` doesn't hold. The caller prints the
 * reason.
 */
export function testIf(condition: boolean): (name: string, run: () => void | Promise<void>) => void {
  return (name, run) => {
    if (condition) test(name, run);
    else test.skip(name, run);
  };
}
