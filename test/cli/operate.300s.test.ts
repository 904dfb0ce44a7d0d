// `millrace top` of a service that runs, and `millrace doctor`.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Finding } from "@millrace/cli/internal/doctor/finding";
import { coresAllowed, memoryAllowed, nodeFinding, openFilesMax } from "@millrace/cli/internal/doctor/system";
import type { Figures } from "@millrace/runtime";
import { open } from "millrace";
import { temporaryDirectory } from "../support.ts";
import { documentOf, millrace } from "./support.ts";

interface Handlers {
  echo(value: unknown): unknown;
}
const handlers = new URL("../../../test/fixtures/ending-handlers.mjs", import.meta.url);

interface Report {
  readonly isSafe: boolean;
  readonly warnings: number;
  readonly findings: readonly Finding[];
}

test("top shows what a running service does, as JSON and for people", async () => {
  const directory = join(temporaryDirectory(), "data");
  const mill = await open<Handlers>({ handlers, processors: 2, journal: { directory } });
  let isOver = false;
  let published = 0;
  const publishing = (async () => {
    while (!isOver) {
      await mill.publish.echo(published);
      published += 1;
    }
  })();
  const document = documentOf<Figures & { readonly at: string }>(
    await millrace(["top", directory, "--once", "--json", "--interval", "500ms"]),
  );
  assert.is(document.isReady, true);
  assert.is(document.level, "ok");
  assert.is(document.node, process.version);
  assert.ok(document.perSecond.stored > 0 && document.perSecond.syncs > 0 && document.perSecond.tasks > 0);
  assert.ok(document.journal.recordsPerBatch >= 1);
  assert.ok(document.journal.durableSequence > 0);
  assert.ok(document.workers.busy.every((share) => share >= 0 && share <= 1));
  assert.ok(document.workers.busy.length >= 2);
  assert.ok(Math.abs(Date.parse(document.at) - Date.now()) < 60_000);
  const { code, stdout } = await millrace(["top", directory, "--once", "--interval", "100ms"]);
  assert.is(code, 0);
  for (const word of ["ready", "stored", "unfinished", "dead letters", "journal", "worker 0"]) {
    assert.ok(stdout.includes(word), `${word} in ${stdout}`);
  }
  isOver = true;
  await publishing;
  await mill.close();
});

test("top draws again and again until a signal ends it", async () => {
  const directory = join(temporaryDirectory(), "data");
  const mill = await open<Handlers>({ handlers, processors: 1, journal: { directory } });
  let pictures = 0;
  const ended = await millrace(["top", directory, "--interval", "20ms"], {
    onStart: (child) => {
      child.stdout?.on("data", (chunk) => {
        pictures += String(chunk).split("dead letters").length - 1;
        if (pictures >= 3) child.kill("SIGINT");
      });
    },
  });
  assert.is(ended.code, 130);
  assert.is(ended.stderr, "");
  // The service is as it was.
  await (
    await mill.publish.echo(1)
  ).done;
  await mill.close();
});

test("top says that nothing runs, or that there is no journal", async () => {
  const directory = join(temporaryDirectory(), "data");
  await (await open<Handlers>({ handlers, processors: 1, journal: { directory } })).close();
  const stopped = await millrace(["top", directory, "--json"]);
  assert.equal([stopped.code, documentOf<{ error: { code: string } }>(stopped).error.code], [1, "ERR_SERVICE_STOPPED"]);
  const nowhere = await millrace(["top", join(directory, "nowhere"), "--json"]);
  assert.is(documentOf<{ error: { code: string } }>(nowhere).error.code, "ERR_JOURNAL_MISSING");
  for (const interval of ["5", "-1s", "soon"]) {
    assert.is((await millrace(["top", directory, "--interval", interval])).code, 2);
  }
});

test("a service that ends or doesn't answer while it is asked is told", async () => {
  const directory = join(temporaryDirectory(), "data");
  await (await open<Handlers>({ handlers, processors: 1, journal: { directory } })).close();
  const program = `
    import { open } from "millrace";
    const handlers = new URL(${JSON.stringify(handlers.href)});
    await open({ handlers, processors: 1, journal: { directory: ${JSON.stringify(directory)} } });
    console.log("open");`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], { cwd: import.meta.dirname });
  await once(child.stdout, "data");
  child.kill("SIGSTOP");
  const asked = ["intake", "status", directory, "--json"];
  const late = await millrace(asked, {
    onStart: ({ stderr }) => stderr?.once("data", () => child.kill("SIGCONT")),
  });
  assert.equal([late.code, late.stderr], [0, "millrace: no answer from the service yet\n"]);
  const ended = await millrace(["top", directory, "--interval", "20ms"], {
    onStart: ({ stdout }) => stdout?.once("data", () => child.kill("SIGKILL")),
  });
  assert.is(ended.code, 1);
  assert.match(ended.stderr, /^millrace: the service that had \S+ open has ended \(ERR_SERVICE_STOPPED\)/);
});

test("doctor measures a directory, says what it found, and leaves nothing behind", async () => {
  const directory = temporaryDirectory();
  const outcome = await millrace(["doctor", directory, "--json"]);
  const { isSafe, findings, warnings } = documentOf<Report>(outcome);
  const byName = new Map(findings.map((each) => [each.name, each]));
  for (const name of ["node", "cores", "memory", "files", "clock", "file system", "room", "sync", "journal"]) {
    assert.ok(byName.has(name), name);
  }
  assert.is(
    isSafe,
    findings.every(({ status }) => status !== "unsafe"),
  );
  assert.is(outcome.code, isSafe ? 0 : 1);
  assert.is(warnings, findings.filter(({ status }) => status === "warning").length);
  assert.is(byName.get("journal")?.status, "ok");
  const { syncs, p50Ms, p99Ms, maxMs } = (byName.get("sync") as Finding).data as Record<string, number>;
  assert.ok((syncs as number) > 0);
  assert.ok((p50Ms as number) <= (p99Ms as number) && (p99Ms as number) <= (maxMs as number));
  assert.equal(readdirSync(directory), []);
  const text = await millrace(["doctor", directory, "--quiet"]);
  assert.match(text.stdout, /sync +a sync takes/);
});

test("doctor looks at a directory that isn't there yet, and makes none", async () => {
  const parent = temporaryDirectory();
  const outcome = await millrace(["doctor", join(parent, "not", "yet"), "--json"]);
  const { findings } = documentOf<Report>(outcome);
  assert.is(findings.find(({ name }) => name === "file system")?.data.directory, parent);
  assert.not(existsSync(join(parent, "not")));
});

test("memory as a file system is unsafe: exit code 1", async () => {
  if (!existsSync("/dev/shm")) return;
  const outcome = await millrace(["doctor", "/dev/shm", "--json"]);
  const { isSafe, findings } = documentOf<Report>(outcome);
  assert.equal([outcome.code, isSafe], [1, false]);
  assert.equal(
    findings.filter(({ status }) => status === "unsafe").map(({ name }) => name),
    ["file system"],
  );
});

test("a directory that can't be written is unsafe", async () => {
  const directory = join(temporaryDirectory(), "closed");
  mkdirSync(directory);
  chmodSync(directory, 0o500);
  // Root may write everywhere: there /proc is such a place.
  const place = process.getuid?.() === 0 ? "/proc" : directory;
  const outcome = await millrace(["doctor", place, "--json"]);
  assert.is(outcome.code, 1);
  assert.is(documentOf<Report>(outcome).findings.find(({ name }) => name === "directory")?.status, "unsafe");
  chmodSync(directory, 0o700);
});

test("limits of a container are read in both versions, and their absence", () => {
  const files = (given: Readonly<Record<string, string>>) => (path: string) => given[path];
  assert.is(coresAllowed(files({ "/sys/fs/cgroup/cpu.max": "150000 100000" })), 1.5);
  assert.is(coresAllowed(files({ "/sys/fs/cgroup/cpu.max": "max 100000" })), undefined);
  const first = { "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000" };
  assert.is(coresAllowed(files(first)), 0.5);
  assert.is(coresAllowed(files({ ...first, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1" })), undefined);
  assert.is(coresAllowed(files({})), undefined);
  assert.is(memoryAllowed(files({ "/sys/fs/cgroup/memory.max": "268435456" })), 268_435_456);
  assert.is(memoryAllowed(files({ "/sys/fs/cgroup/memory.max": "max" })), undefined);
  const none = { "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712" };
  assert.is(memoryAllowed(files(none)), undefined);
  const limits =
    "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files";
  assert.is(openFilesMax(files({ "/proc/self/limits": limits })), 1024);
  assert.is(openFilesMax(files({ "/proc/self/limits": limits.replace("1024", "unlimited") })), Infinity);
  assert.is(openFilesMax(files({})), undefined);
  assert.equal(
    ["18.20.0", "20.18.9", "20.19.0", "24.1.0"].map((version) => nodeFinding(version).status),
    ["unsafe", "unsafe", "ok", "ok"],
  );
});

test.run();
