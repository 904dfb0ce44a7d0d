// Intakes that an earlier build has left: the present one must deliver what isn't finished, and
// know every dead letter, also when it is killed on its way.
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { seededRandom } from "@millrace/base";
import { Journal, NodeStorage } from "@millrace/journal";
import { repairLog, surveyLog } from "@millrace/journal/kernel";
import { type DeadLetter, type Millrace, open } from "millrace";
import { rejectsWith, temporaryDirectory } from "../support.ts";
import { golden, type Golden, type GoldenRecord, goldens, unpack } from "./golden.ts";

interface Handlers {
  note(value: { n: number }): unknown;
  fail(value: { n: number }): unknown;
  hang(value: { n: number }): unknown;
  later(value: { n: number }): unknown;
}

type Seen = Omit<GoldenRecord, "state">;

const handlers = new URL("../fixtures/golden-handlers.js", import.meta.url);
const life = fileURLToPath(new URL("../fixtures/golden-life.js", import.meta.url));
const SNAPSHOT_VERSION = 2;

function seenIn(file: string): Seen[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Seen);
}

function openIn(directory: string, file: string): Promise<Millrace<Handlers>> {
  process.env["MILLRACE_GOLDEN_FILE"] = file;
  return open<Handlers>({ handlers, processors: 1, journal: { directory } });
}

const inState = ({ records }: Golden, ...states: GoldenRecord["state"][]): GoldenRecord[] =>
  records.filter(({ state }) => states.includes(state));
const sequencesOf = (records: readonly { sequence: number }[]): number[] =>
  records.map(({ sequence }) => sequence).toSorted((left, right) => left - right);

/** The delivered records are the unfinished ones, with their content. */
function checkDelivered(seen: readonly Seen[], expected: readonly GoldenRecord[], isOnce: boolean): void {
  const delivered = new Set(sequencesOf(seen));
  assert.equal([...delivered], sequencesOf(expected));
  if (isOnce) assert.is(seen.length, expected.length);
  for (const { state: _, ...record } of expected) {
    assert.equal(
      seen.find(({ sequence }) => sequence === record.sequence),
      record,
    );
  }
}

async function checkDead(mill: Millrace<Handlers>, expected: readonly GoldenRecord[]): Promise<void> {
  const letters = await mill.dead.list();
  assert.equal(sequencesOf(letters), sequencesOf(expected));
  for (const { sequence, handler, n, headers } of expected) {
    const letter = letters.find((each) => each.sequence === sequence) as DeadLetter;
    assert.is((letter.payload as { n: number }).n, n);
    assert.equal([letter.handler, letter.headers ?? null], [handler, headers]);
    const last = letter.failures.at(-1)?.error as Error;
    assert.is(last.message, `record ${n} fails`);
  }
}

const all = ["v1", "v2"].flatMap((format) => goldens(format));

for (const each of all) {
  test(`what isn't finished is delivered, and what is dead is there: ${each.name}`, async () => {
    const directory = unpack(each);
    const file = join(dirname(directory), "seen");
    const dead = inState(each, "dead");
    const mill = await openIn(directory, file);
    await mill.drain();
    checkDelivered(seenIn(file), inState(each, "unfinished"), true);
    await checkDead(mill, dead);
    await mill.close();
    // The records that the close has written are of this build.
    const journal = await Journal.open({ directory });
    assert.is((await journal.lastCheckpoint())?.bytes.readUInt32LE(0), SNAPSHOT_VERSION);
    await journal.close();

    const again = await openIn(directory, file);
    await again.drain();
    assert.is(seenIn(file).length, inState(each, "unfinished").length, "nothing is delivered again");
    await checkDead(again, dead);
    // A letter of an earlier build can be redriven.
    for (const { handler } of dead) await again.dead.redrive({ handler });
    await again.drain();
    checkDelivered(seenIn(file), inState(each, "unfinished", "dead"), true);
    await checkDead(again, []);
    await again.close();
  });
}

/** Runs a life that is killed after some ms; whether it ended by itself before. */
function lived(directory: string, file: string, ms: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, MILLRACE_GOLDEN_FILE: file };
    const child = spawn(process.execPath, [life, directory], { env, stdio: ["ignore", "ignore", "pipe"] });
    let errors = "";
    child.stderr.on("data", (chunk) => (errors += String(chunk)));
    const timer = setTimeout(() => child.kill("SIGKILL"), ms);
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      if (signal === "SIGKILL" || code === 0) resolve(code === 0);
      else reject(new Error(`a life ended with ${code}: ${errors.slice(0, 2000)}`));
    });
  });
}

const KILLS = 4;
const START_MS = 150;
const LIFE_MS = 500;
const seed = Number(process.env["MILLRACE_PROPERTY_SEED"] ?? Date.now() % 2 ** 31);
const random = seededRandom(seed);

for (const each of all) {
  test(`killed on its way, nothing is lost: ${each.name}, seed ${seed}`, async () => {
    const directory = unpack(each);
    const file = join(dirname(directory), "seen");
    for (let kill = 0; kill < KILLS; kill += 1) {
      if (await lived(directory, file, START_MS + random.below(LIFE_MS))) break;
    }
    const mill = await openIn(directory, file);
    await mill.drain();
    checkDelivered(seenIn(file), inState(each, "unfinished"), false);
    await checkDead(mill, inState(each, "dead"));
    await mill.close();
  });
}

test("retries, keys, pauses and producers of format 2 are carried over", async () => {
  const terms = golden("v2/terms");
  const directory = unpack(terms);
  const file = join(temporaryDirectory(), "seen");
  const mill = await openIn(directory, file);
  const { waitingRetry, scheduled, paused: held } = await mill.drain();
  assert.is(waitingRetry + scheduled, inState(terms, "waiting").length);
  assert.is(held, inState(terms, "paused").length);
  const [hung] = terms.records.filter(({ handler }) => handler === "hang") as [GoldenRecord];
  const payload = { n: hung.n, fill: "x".repeat(10) };
  const repeated = await mill.publish.hang(payload, { key: "other", idempotencyKey: "once" });
  assert.equal([repeated.sequence, repeated.duplicate], [hung.sequence, true]);
  const produced = await mill.publish.note({ n: 0 }, { producer: { id: "source", sequence: 7 } });
  assert.is(produced.duplicate, true);
  await mill.resume("note");
  await mill.drain();
  checkDelivered(seenIn(file), inState(terms, "unfinished", "paused"), true);
  await mill.close();
});

/** Alters a byte of the snapshot in every checkpoint of the directory. */
function spoilSnapshots(directory: string): void {
  for (const name of readdirSync(directory).filter((each) => each.startsWith("checkpoint-"))) {
    const path = join(directory, name);
    const bytes = readFileSync(path);
    bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
    writeFileSync(path, bytes);
  }
}

for (const name of ["v1/copied", "v2/copied"]) {
  test(`a snapshot that can't be read is refused once the log before it is gone: ${name}`, async () => {
    const directory = unpack(golden(name));
    spoilSnapshots(directory);
    const file = join(dirname(directory), "seen");
    const thrown = await rejectsWith(openIn(directory, file), "ERR_JOURNAL_DAMAGED");
    assert.ok((thrown.details["lastSequence"] as number) > 0);
    // Only when that is accepted the log alone tells; then nothing of it is lost.
    const [gap] = surveyLog(new NodeStorage(directory)).gaps;
    assert.equal([gap?.firstSequence, gap?.lastSequence], [1, thrown.details["lastSequence"]]);
    repairLog(new NodeStorage(directory), Date.now());
    const mill = await openIn(directory, file);
    await mill.drain();
    const delivered = new Set(sequencesOf(seenIn(file)));
    for (const { sequence } of inState(golden(name), "unfinished")) assert.ok(delivered.has(sequence));
    await mill.close();
  });
}

for (const name of ["v1/dead", "v2/dead"]) {
  test(`while the log is whole it tells without a snapshot: ${name}`, async () => {
    const each = golden(name);
    const directory = unpack(each);
    for (const file of ["checkpoint-a", "checkpoint-b", "marks"]) rmSync(join(directory, file), { force: true });
    const mill = await openIn(directory, join(dirname(directory), "seen"));
    await checkDead(mill, inState(each, "dead"));
    await mill.close();
  });
}

test.run();
