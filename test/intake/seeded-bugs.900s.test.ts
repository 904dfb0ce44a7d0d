// Bugs that an intake can have, as edits of its compiled modules. The simulation must notice each.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { INTAKE_BUGS, type SeededBug } from "./seeded-bugs.ts";

const SCHEDULE_COUNT = 600;
/** The bugs to try, by their names; all of them by default. */
const CHOSEN = new RegExp(process.env["MILLRACE_INTAKE_BUGS"] ?? "");
const hook = fileURLToPath(new URL("./edit-hook.js", import.meta.url));
const program = fileURLToPath(new URL("./simulate.js", import.meta.url));

/** Without a bug the schedules take less than a minute: a program that runs on never ends. */
const LIMIT_MS = 200_000;

/** Whether the simulation notices an edit; without one, whether it finds anything at all. */
function isNoticed(edit: Omit<SeededBug, "name"> | undefined): Promise<boolean> {
  const environment = edit === undefined ? process.env : { ...process.env, MILLRACE_EDIT: JSON.stringify(edit) };
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      ["--no-warnings", "--import", hook, program, "1", String(edit === undefined ? 3 : SCHEDULE_COUNT)],
      { env: environment, timeout: LIMIT_MS },
      (error, stdout, stderr) => {
        if (error === null) resolve(false);
        // A seed that breaks a promise is named. A bug that ends the program otherwise, or keeps it
        // from ending, is noticed too, but not an edit that doesn't fit, or that makes no program.
        else if (/occurs \d+ times|SyntaxError/.test(stderr)) reject(new Error(stderr.slice(0, 2000)));
        else resolve(stdout.includes("seed") || stderr !== "" || error.killed === true);
      },
    );
  });
}

test("without a bug the simulation finds none", async () => {
  assert.is(await isNoticed(undefined), false);
});

test("the simulation notices every seeded bug", async () => {
  const survivors: string[] = [];
  const chosen = INTAKE_BUGS.filter(({ name }) => CHOSEN.test(name));
  const queue = [...chosen];
  const lane = async (): Promise<void> => {
    for (let bug = queue.shift(); bug !== undefined; bug = queue.shift()) {
      if (!(await isNoticed(bug))) survivors.push(bug.name);
    }
  };
  await Promise.all([lane(), lane()]);
  console.log(`# intake bugs caught ${chosen.length - survivors.length}/${chosen.length}`);
  assert.equal(survivors, []);
});

test.run();
