import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { directoryIn, removeInUse } from "@millrace/cli/internal/terminal/temporary";
import { temporaryDirectory } from "../support.ts";

/** A thread that makes files below the directory for as long as it is there, and counts them. */
const MAKES_FILES = `
  const { parentPort, workerData } = require("node:worker_threads");
  const { writeFileSync } = require("node:fs");
  let made = 0;
  try {
    for (;;) {
      writeFileSync(workerData + "/" + made, "");
      made += 1;
      if (made === 100) parentPort.postMessage(made);
    }
  } catch (thrown) {
    parentPort.postMessage(thrown.code);
  }`;

function nextMessage(worker: Worker): Promise<unknown> {
  return new Promise((resolve) => worker.once("message", resolve));
}

test("a directory in which another thread makes files is removed", async () => {
  for (let round = 0; round < 20; round += 1) {
    const path = join(temporaryDirectory(), "run");
    mkdirSync(join(path, "ledgers"), { recursive: true });
    const worker = new Worker(MAKES_FILES, { eval: true, workerData: join(path, "ledgers") });
    await nextMessage(worker);
    const ended = nextMessage(worker);
    removeInUse(path);
    assert.not(existsSync(path));
    assert.is(await ended, "ENOENT");
    assert.equal(readdirSync(dirname(path)), []);
    await worker.terminate();
  }
});

/** A process id that nobody has any more. */
function freeId(): number {
  return spawnSync(process.execPath, ["-e", ""]).pid;
}

test("a leftover is removed where its process's id is valid, and left elsewhere", () => {
  const parent = temporaryDirectory();
  const own = basename(directoryIn(parent, "run-"));
  const dead = own.replace(`-${process.pid}-`, `-${freeId()}-`);
  assert.not.equal(dead, own);
  // As another container names it, and as an earlier version did.
  const others = [dead.replace(/^run-[0-9a-f]{8}/, "run-00000000"), `run-${freeId()}-abcdef`];
  for (const name of [dead, ...others]) mkdirSync(join(parent, name));
  const next = basename(directoryIn(parent, "run-"));
  assert.equal(readdirSync(parent).toSorted(), [own, next, ...others].toSorted());
});

test("a directory that is gone is removed; one below a file can't be", () => {
  const path = join(temporaryDirectory(), "none");
  removeInUse(path);
  assert.not(existsSync(path));
  assert.throws(() => removeInUse(join("/proc/self/status", "none")), /ENOTDIR/);
});

test.run();
