/**
 * Go programs in bench/go, a directory each: built when they are first asked for. Go itself is
 * whatever `go` is on the path.
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/**
 * Runs program `name` and returns what it prints as JSON; undefined, and says so on stderr, where
 * Go isn't installed.
 */
export function runGo(name: string, args: readonly string[]): Record<string, number> | undefined {
  const program = join(root, ".build", "go", name);
  try {
    // Quick when nothing has changed: Go keeps what it has built.
    execFileSync("go", ["build", "-o", program, `./${name}`], { cwd: join(root, "bench", "go") });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ENOENT") throw thrown;
    process.stderr.write(
      "\nGo isn't installed, so there is nothing of Go to compare with (apt-get install golang-go)\n",
    );
    return undefined;
  }
  return JSON.parse(execFileSync(program, args, { encoding: "utf8" })) as Record<string, number>;
}
