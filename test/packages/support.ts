/** Helpers for the tests of the published packages: tarballs, a registry, projects. */
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import { temporaryDirectory } from "../support.ts";
import { type Packed, type Registry, startRegistry } from "./registry.ts";

export const root: string = fileURLToPath(new URL("../../..", import.meta.url));

/** `npm run test:packages`: every compiler and every tool, which takes many minutes. */
export const isLong: boolean = process.env.MILLRACE_PACKAGES_LONG === "1";

/** A package manager that waits for its registry is given up after this. */
const RUN_LIMIT_MS = 240_000;
const REACH_LIMIT_MS = 15_000;

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly limitMs?: number;
}

/** Variables by which the npm that runs the tests would speak to the one that is tested. */
function environment(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(
    ([name]) => !/^npm_|^NODE_OPTIONS$|^NO_COLOR$|^FORCE_COLOR$/i.test(name),
  );
  return { ...Object.fromEntries(own), ...extra };
}

/** Runs a program to its end, whatever its exit code. Rejects when it takes too long. */
export function run(
  command: string,
  args: readonly string[],
  { cwd = root, env, limitMs = RUN_LIMIT_MS }: RunOptions = {},
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: environment(env),
      stdio: ["ignore", "pipe", "pipe"],
      timeout: limitMs,
      killSignal: "SIGKILL",
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => (stdout += chunk));
    child.stderr.on("data", (chunk) => (stderr += chunk));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      const line = [command, ...args].join(" ");
      if (signal === "SIGKILL") reject(new Error(`${line}: stopped after ${limitMs} ms\n${stdout}\n${stderr}`));
      else resolve({ code, stdout, stderr });
    });
  });
}

/** As `run`, for programs that must succeed. Resolves with what they print on stdout. */
export async function succeed(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, options);
  if (code === 0) return stdout;
  throw new Error(`${[command, ...args].join(" ")}: exit code ${code}\n${stdout}\n${stderr}`);
}

export interface Workshop {
  readonly packages: readonly Packed[];
  readonly registry: Registry;
  /** A new project: a directory with these files, outside the workspace. */
  project(name: string, files?: Readonly<Record<string, string | object>>): string;
  /** `npm install` of these packages there. */
  install(project: string, ...packages: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

/** Packs everything and starts the registry. */
async function openWorkshop(upstream: string): Promise<Workshop> {
  const directory = temporaryDirectory();
  const built = join(directory, "pack");
  const { pack } = (await import(join(root, "scripts/release/pack.mjs"))) as { pack: (built: string) => Packed[] };
  const packages = pack(built);
  const registry = await startRegistry(
    packages,
    upstream,
    (packed) => JSON.parse(readFileSync(join(packed.directory, "package.json"), "utf8")) as object,
  );
  return {
    packages,
    registry,
    project(name, files = {}) {
      const project = join(directory, name);
      write(project, { "package.json": { name, private: true, type: "module" }, ...files });
      return project;
    },
    async install(project, ...names) {
      const flags = ["--no-audit", "--no-fund", "--prefer-offline", "--registry", registry.url];
      await succeed("npm", ["install", ...flags, ...names], { cwd: project });
    },
    async close() {
      await registry.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Writes files below a directory; an object becomes JSON. */
export function write(directory: string, files: Readonly<Record<string, string | object>>): void {
  for (const [name, content] of Object.entries(files)) {
    const path = join(directory, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, typeof content === "string" ? content : `${JSON.stringify(content, undefined, 2)}\n`);
  }
}

async function isReachable(upstream: string): Promise<boolean> {
  try {
    return (await fetch(`${upstream}tinypool`, { signal: AbortSignal.timeout(REACH_LIMIT_MS) })).ok;
  } catch {
    return false;
  }
}

/**
 * Tests in projects that install our tarballs. Skipped, with the reason, where npm's registry can't
 * be reached.
 */
export async function withWorkshop(name: string, tests: (workshop: Workshop) => void): Promise<void> {
  const configured = (await succeed("npm", ["config", "get", "registry"])).trim();
  const upstream = configured.endsWith("/") ? configured : `${configured}/`;
  if (!(await isReachable(upstream))) {
    console.log(`# ${name}: skipped, ${upstream} can't be reached`);
    test.skip(`${name}: the registry can't be reached`, () => {});
    test.run();
    return;
  }
  const workshop = await openWorkshop(upstream);
  test.after(() => workshop.close());
  tests(workshop);
  test.run();
}
