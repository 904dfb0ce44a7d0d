import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { removeInUse } from "@millrace/cli/internal/terminal/temporary";
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

test("a directory that is gone is removed; one below a file can't be", () => {
  const path = join(temporaryDirectory(), "none");
  removeInUse(path);
  assert.not(existsSync(path));
  assert.throws(() => removeInUse(join("/proc/self/status", "none")), /ENOTDIR/);
});

test.run();
