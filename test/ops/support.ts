// Prometheus' own tool, where it is installed (Debian: `apt-get install prometheus`).
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";

export const root: string = fileURLToPath(new URL("../../..", import.meta.url));

const isInstalled = spawnSync("promtool", ["--version"]).status === 0;

/** A test that needs promtool; where it isn't installed it is skipped, and says so. */
export const withPromtool = (name: string, body: () => Promise<void> | void): void => {
  if (isInstalled) test(name, body);
  else test.skip(`${name} (promtool isn't installed)`, body);
};

/** The output of promtool, and whether it was content. */
export function promtool(args: readonly string[], input = ""): { readonly isContent: boolean; readonly text: string } {
  const { status, stdout, stderr } = spawnSync("promtool", args, { input, encoding: "utf8", timeout: 60_000 });
  return { isContent: status === 0, text: `${stdout}${stderr}` };
}
