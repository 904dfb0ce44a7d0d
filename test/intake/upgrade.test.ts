// `millrace journal upgrade`, on golden intakes, and on the simulated disk with cuts at each step.
import { join } from "node:path";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { seededRandom } from "@millrace/base";
import { crc32 } from "@millrace/codec";
import { NodeStorage, type Storage } from "@millrace/journal";
import { readCheckpoints, readMarks, scanLog } from "@millrace/journal/kernel";
import { encodeStates, readLogStates, upgradeSnapshots } from "@millrace/intake";
import { SimulatedStorage } from "@millrace/journal/internal/storage/simulated.fault";
import { documentOf, millrace } from "../cli/support.ts";
import { golden, type Golden, goldens, unpack } from "./golden.ts";

interface Document {
  readonly snapshots: readonly { readonly version: number }[];
  readonly rewritten: number;
  readonly dead: number;
}

function idOf(storage: Storage): Buffer {
  return scanLog(storage).segments.at(-1)?.header.logId as Buffer;
}

/** The states of the log, as bytes. */
function saidBy(storage: Storage): Buffer {
  const scan = scanLog(storage);
  return encodeStates(readLogStates(storage, idOf(storage), scan.segments.at(-1)?.end.lastSequence ?? 0));
}

const versionsIn = (storage: Storage): number[] =>
  readCheckpoints(storage, idOf(storage)).map(({ bytes }) => (bytes.length === 0 ? 0 : bytes.readUInt32LE(0)));

const contentOf = (directory: string): Map<string, Buffer> => {
  const names = readdirSync(directory).filter((name) => name !== "LOCK");
  return new Map(names.map((name) => [name, readFileSync(join(directory, name))]));
};

for (const each of ["v1", "v2"].flatMap((format) => goldens(format))) {
  test(`an upgrade says what there is, changes no state, and is needed once: ${each.name}`, async () => {
    const directory = unpack(each);
    const storage = new NodeStorage(directory);
    const before = saidBy(storage);
    const content = contentOf(directory);
    const dead = each.records.filter(({ state }) => state === "dead").length;

    const dry = await millrace(["journal", "upgrade", "--dir", directory, "--dry-run", "--json"]);
    assert.is(dry.code, 0, dry.stderr);
    assert.equal(contentOf(directory), content, "a dry run writes nothing");
    const old = versionsIn(storage).filter((version) => version === 1).length;
    assert.equal([documentOf<Document>(dry).rewritten, documentOf<Document>(dry).dead], [old, dead]);

    const done = await millrace(["journal", "upgrade", "--dir", directory, "--json"]);
    assert.is(done.code, 0, done.stderr);
    assert.equal(saidBy(storage), before);
    assert.ok(versionsIn(storage).every((version) => version !== 1));
    if (old > 0) assert.equal([versionsIn(storage).length, (readMarks(storage)?.checkpoint ?? 0) > 0], [2, true]);
    const again = await millrace(["journal", "upgrade", "--dir", directory, "--json"]);
    assert.is(documentOf<Document>(again).rewritten, 0);
  });
}

test("an upgrade refuses what a newer version has written, and leaves it as it is", async () => {
  const directory = unpack(golden("v2/dead"));
  for (const name of ["checkpoint-a", "checkpoint-b", "marks"]) {
    const path = join(directory, name);
    const bytes = readFileSync(path);
    const page = bytes.subarray(0, 4096);
    page.writeUInt16LE(2, 8);
    page.writeUInt32LE(crc32(page.subarray(0, 4092)), 4092);
    writeFileSync(path, bytes);
    const content = contentOf(directory);
    const outcome = await millrace(["journal", "upgrade", "--dir", directory]);
    assert.is.not(outcome.code, 0);
    assert.match(outcome.stderr, /ERR_JOURNAL_VERSION/);
    assert.equal(contentOf(directory), content);
  }
});

function simulated({ files }: Golden): SimulatedStorage {
  const disk = new SimulatedStorage();
  for (const [name, base64] of Object.entries(files)) {
    const file = disk.open(name, "create");
    file.write([Buffer.from(base64, "base64")], 0);
    file.sync();
    file.close();
  }
  disk.syncDirectory();
  return disk;
}

const CUTS = 6;

for (const name of ["v1/dead", "v1/copied", "v1/compacted"]) {
  test(`a cut at any step of an upgrade changes no state: ${name}`, () => {
    const disk = simulated(golden(name));
    const before = saidBy(disk.fork());
    const logId = idOf(disk.fork());
    const random = seededRandom(7);
    let cuts = 0;
    const cut = (): void => {
      const look = disk.fork();
      for (let sample = 0; sample < CUTS; sample += 1) {
        const values = look.choices().map(({ options }) => random.below(options));
        const left = look.crash(values);
        assert.equal(saidBy(left), before);
        cuts += 1;
        // And goes on from there.
        upgradeSnapshots(left, logId);
        assert.equal(saidBy(left), before);
        assert.ok(versionsIn(left).every((version) => version !== 1));
      }
    };
    disk.after = ({ kind }) => {
      if (kind !== "read" && kind !== "list") cut();
    };
    upgradeSnapshots(disk, logId);
    assert.ok(cuts > 0 || name === "v1/compacted");
    assert.equal(saidBy(disk.fork()), before);
  });
}

test.run();
