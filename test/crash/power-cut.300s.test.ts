// A power cut on a real file system. The test copies the image below a mounted ext4 while a process
// appends. The copy has what had reached the device at that moment, and nothing that was only in
// the page cache.
import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { seededRandom } from "@millrace/base";
import { temporaryDirectory, testIf } from "../support.ts";
import { Appender, Ledger } from "./appender.ts";
import { isLong, printedSeed } from "./options.ts";

const random = seededRandom(printedSeed());
const CUTS: number = isLong ? 200 : 5;
const IMAGE_BYTES = 64 * 2 ** 20;

const place = temporaryDirectory();
const mounted: string[] = [];
process.once("exit", () => mounted.forEach((directory) => unmount(directory)));

function run(command: string, ...args: string[]): string | undefined {
  const { status, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
  return status === 0 ? undefined : `${command}: ${error?.message ?? stderr.trim()}`;
}

/** Returns why it didn't work. */
function mount(image: string, directory: string): string | undefined {
  mkdirSync(directory, { recursive: true });
  const reason = run("mount", "-o", "loop", image, directory);
  if (reason === undefined) mounted.push(directory);
  return reason;
}

function unmount(directory: string): void {
  const index = mounted.indexOf(directory);
  if (index >= 0) mounted.splice(index, 1);
  run("umount", directory);
}

const image = join(place, "disk");
const directory = join(place, "mounted");
writeFileSync(image, "");
truncateSync(image, IMAGE_BYTES);
const reason = run("mkfs.ext4", "-q", image) ?? mount(image, directory);
if (reason !== undefined) console.log(`# skipped: no file system in a file can be mounted here (${reason})`);

testIf(reason === undefined)("a power cut on ext4 loses nothing that was acknowledged", async () => {
  const ledger = new Ledger();
  const appender = new Appender(join(directory, "journal"), 1, 2 ** 20, ledger);
  let checked = 0;
  let vanished = 0;
  for (let cut = 0; cut < CUTS; cut += 1) {
    await appender.acknowledges(1 + random.below(300));
    // A file that nobody syncs: the control that a copy really lacks what was only in memory.
    writeFileSync(join(directory, `unsynced-${cut}`), "x".repeat(10_000));
    const known = ledger.copy();
    const copy = join(place, "copy");
    // Stopped only so that the copy shows one moment; what is in memory stays there.
    appender.signal("SIGSTOP");
    await promisify(execFile)("cp", ["--sparse=always", image, copy]);
    appender.signal("SIGCONT");
    const copyDirectory = join(place, "copy-mounted");
    assert.is(mount(copy, copyDirectory), undefined);
    try {
      const control = join(copyDirectory, `unsynced-${cut}`);
      if (!existsSync(control) || statSync(control).size === 0) vanished += 1;
      await known.reconcile(join(copyDirectory, "journal"));
      checked += known.acked.size;
    } finally {
      unmount(copyDirectory);
      rmSync(copy);
    }
  }
  await appender.kill();
  await ledger.reconcile(join(directory, "journal"));
  assert.ok(vanished > 0, "no cut lost anything at all: they prove nothing");
  assert.ok(readdirSync(join(directory, "journal")).length > 2);
  console.log(
    `# ${CUTS} power cuts on ext4, ${checked} acknowledged records checked, ${vanished} unsynced files were gone`,
  );
});

test("nothing stays mounted", () => {
  if (reason === undefined) unmount(directory);
  assert.equal(mounted, []);
});

test.run();
