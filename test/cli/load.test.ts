import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { payloadCrc } from "@millrace/cli/internal/load/payload";
import { reconcile, STATUS } from "@millrace/cli/internal/load/reconcile";
import type * as handlers from "@millrace/cli/internal/load/victim-handlers";
import { Journal } from "@millrace/journal";
import { open } from "millrace";
import { temporaryDirectory } from "../support.ts";
import { documentOf, millrace } from "./support.ts";

interface CrashDocument {
  readonly published: number;
  readonly acknowledged: number;
  readonly handled: number;
  readonly duplicates: number;
  readonly lost: number;
  readonly ghosts: number;
  readonly unpromised: number;
  readonly kills: number;
  readonly recoveryMs: { median: number; max: number };
}

test("reconcile tells lost records, ghosts and duplicates from what is legal", () => {
  const crcOf = (id: number): number => payloadCrc(16, id, 1);
  const statuses = new Uint8Array([
    STATUS.acknowledged, // 0 handled
    STATUS.acknowledged, // 1 lost
    STATUS.sent, // 2 handled, not acknowledged: legal
    STATUS.sent, // 3 not handled: legal
    STATUS.rejected, // 4 handled although rejected: ghost
    STATUS.acknowledged, // 5 handled twice: legal
    STATUS.acknowledged, // 6 handled altered: ghost, and lost
    STATUS.unsent, // 7 handled although never sent: ghost
  ]);
  const entry = (id: number, crc = crcOf(id)): { id: number; crc: number } => ({ id, crc });
  const entries = [
    entry(0),
    entry(2),
    entry(4),
    entry(5),
    entry(5),
    entry(6, 1),
    entry(7),
    entry(8),
    entry(-1),
    entry(0.5),
  ];
  assert.equal(reconcile(statuses, entries, crcOf), {
    handled: 3,
    duplicates: 1,
    lost: 2,
    ghosts: 6,
    unpromised: 1,
    lostIds: [1, 6],
    ghostIds: [4, 6, 7, 8, -1, 0.5],
  });
});

test("load crash: killed at random moments, nothing acknowledged is lost", async () => {
  const outcome = await millrace(["load", "crash", "--seconds", "4", "--kills", "3", "--rate", "2000", "--json"]);
  assert.is(outcome.code, 0, outcome.stderr);
  const document = documentOf<CrashDocument>(outcome);
  assert.is(document.published, 8000);
  assert.is(document.lost, 0);
  assert.is(document.ghosts, 0);
  assert.is(document.kills, 3);
  assert.ok(document.acknowledged > 1000);
  assert.ok(document.handled >= document.acknowledged);
  assert.ok(document.recoveryMs.max > 0);
  console.log(
    `# 3 kills: ${document.acknowledged} acknowledged, ${document.duplicates} handled again, ${document.lost} lost, ${document.ghosts} ghosts`,
  );
});

test("load of a directory that is in use leaves nothing", async () => {
  const [directory, temporary] = [temporaryDirectory(), temporaryDirectory()];
  const journal = await Journal.open({ directory });
  for (const what of ["crash", "run"]) {
    const outcome = await millrace(["load", what, "--dir", directory, "--seconds", "1"], {
      env: { TMPDIR: temporary },
    });
    assert.is(outcome.code, 1);
    assert.match(outcome.stderr, "the process under test");
    assert.equal(readdirSync(temporary), [], what);
  }
  await journal.close();
});

test("records that an earlier run has left are no ghosts", async () => {
  const directory = join(temporaryDirectory(), "journal");
  const mill = await open<typeof handlers>({
    handlers: import.meta.resolve("@millrace/cli/internal/load/victim-handlers"),
    processors: 1,
    journal: { directory, allowUnsafeStorage: true },
  });
  // Due while the next run is under way; their payloads are none of its own.
  const left = Array.from({ length: 50 }, (_, n) => ({
    handler: "handle" as const,
    payload: { run: "earlier", id: n * 1000, payload: Buffer.from("other") },
    delayMs: 1000,
  }));
  await mill.publishMany(left);
  await mill.close();
  const args = ["load", "crash", "--dir", directory, "--seconds", "3", "--kills", "1", "--rate", "200", "--json"];
  const outcome = await millrace([...args, "--processors", "1"]);
  const document = documentOf<CrashDocument>(outcome);
  assert.equal([document.ghosts, document.lost], [0, 0], outcome.stderr);
  assert.is(outcome.code, 0, outcome.stderr);
});

test("load run: counts match, and a missed target is exit code 4", async () => {
  const outcome = await millrace([
    ..."load run --seconds 2 --rate 500 --processors 1 --json".split(" "),
    "--slo",
    "p50<10s",
    "--slo",
    "max<1us",
  ]);
  const document = documentOf<{ published: number; acknowledged: number; valid: boolean; slo: { met: boolean }[] }>(
    outcome,
  );
  assert.is(document.published, 1000);
  assert.is(document.acknowledged, 1000);
  assert.equal(
    document.slo.map(({ met }) => met),
    [true, false],
  );
  // On a machine that is too busy to keep the schedule, the run says so instead.
  assert.is(outcome.code, document.valid ? 4 : 5);
});

test("a target that can't be read is a usage error", async () => {
  const outcome = await millrace(["load", "run", "--slo", "p95<3ms"]);
  assert.is(outcome.code, 2);
  assert.match(outcome.stderr, "p99<20ms");
});

test.run();
