/**
 * The published declarations under strict compilers: each minor version of TypeScript from 5.4 on,
 * each way of resolving modules, declarations checked as well.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { testIf } from "../support.ts";
import { isLong, run, withWorkshop, type Workshop } from "./support.ts";

const SHORT: readonly (readonly [compiler: string, resolution: string])[] = [
  ["5.4.5", "nodenext"],
  ["5.4.5", "bundler"],
  ["5.9.3", "node16"],
  ["7.0.2", "nodenext"],
];
/** The last release of each minor version. The short run takes the ends, and each resolution. */
const COMPILERS = ["5.4.5", "5.5.4", "5.6.3", "5.7.3", "5.8.3", "5.9.3", "6.0.3", "7.0.2"].filter(
  (version) => isLong || SHORT.some(([compiler]) => compiler === version),
);

const program = `
import { open, Mutex, Chan, withTimeout, background, isMillraceError, type Millrace, type TaskContext } from "millrace";
import { Journal } from "@millrace/journal";
import { Pool } from "@millrace/pool";

export type Handlers = {
  add(pair: { a: number; b: number }): number;
  settle(payment: { account: string; amount: number }, context: TaskContext): Promise<string>;
};

export async function main(): Promise<void> {
  const mill: Millrace<Handlers> = await open<Handlers>({ handlers: "file:///handlers.mjs", journal: { directory: "./data" } });
  const sum: number = await mill.run.add({ a: 1, b: 2 });
  const ack = await mill.publish.settle({ account: "A-1", amount: sum }, { key: "A-1" });
  await ack.done;
  // @ts-expect-error There is no such handler.
  await mill.run.subtract({ a: 1, b: 2 });
  // @ts-expect-error The amount is a number.
  await mill.publish.settle({ account: "A-1", amount: "10" });
  const mutex = new Mutex();
  const chan = new Chan<number>(1);
  await chan.sendAsync(1);
  using scope = withTimeout(background(), 1000);
  if (isMillraceError(scope.err)) mutex.close();
  const journal = await Journal.open({ directory: "./log" });
  await journal.close();
  const pool = new Pool({ filename: "file:///tasks.mjs" });
  await pool.close();
}
`;

/** A handler's context has no members that are the machine's. */
const hidden = `
import type { TaskContext } from "millrace";
export function handler(_: unknown, context: TaskContext): void {
  // @ts-expect-error Marked @internal.
  context.end();
  // @ts-expect-error Marked @internal.
  context.abort();
}
`;

const base = {
  strict: true,
  noEmit: true,
  skipLibCheck: false,
  target: "es2022",
  types: ["node"],
  lib: ["es2023", "esnext.disposable"],
};

const projects: Readonly<Record<string, object>> = {
  nodenext: { ...base, module: "nodenext", moduleResolution: "nodenext" },
  node16: { ...base, module: "node16", moduleResolution: "node16" },
  bundler: { ...base, module: "esnext", moduleResolution: "bundler" },
};

function tests(workshop: Workshop): void {
  const sources = { "main.mts": program, "main.cts": program, "hidden.mts": hidden };
  const configs = Object.fromEntries(
    Object.entries(projects).map(([name, compilerOptions]) => [
      `tsconfig.${name}.json`,
      { compilerOptions, include: ["*.mts", "*.cts"] },
    ]),
  );
  const project = workshop.project("types", { ...sources, ...configs });

  test("the packages and every compiler install side by side", async () => {
    const aliases = COMPILERS.map((version) => `typescript-${version}@npm:typescript@${version}`);
    await workshop.install(project, "millrace", "@millrace/journal", "@millrace/pool", "@types/node@20", ...aliases);
  });

  for (const version of COMPILERS) {
    for (const resolution of Object.keys(projects)) {
      const isWanted = isLong || SHORT.some(([compiler, way]) => compiler === version && way === resolution);
      testIf(isWanted)(`TypeScript ${version} takes the declarations, resolution ${resolution}`, async () => {
        const compiler = `node_modules/typescript-${version}/lib/tsc.js`;
        const { stdout } = await run(process.execPath, [compiler, "-p", `tsconfig.${resolution}.json`], {
          cwd: project,
        });
        assert.is(stdout, "");
      });
    }
  }
}

await withWorkshop("types", tests);
