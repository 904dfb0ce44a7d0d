// Replays from outside: of a service that runs, and of a directory that nobody has open.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { open } from "millrace";
import { temporaryDirectory } from "../support.ts";
import { millrace as run, type Outcome } from "./support.ts";

const handlers = new URL("../../../test/fixtures/replay-handlers.mjs", import.meta.url);
interface Handlers {
  settle(payload: object): unknown;
  audit(payload: object): unknown;
}

const millrace = (...parameters: string[]): Promise<Outcome> => run(parameters);

test("the command replays of a running service, and of a stopped one", async () => {
  const place = temporaryDirectory();
  const [directory, file] = [join(place, "data"), join(place, "calls")];
  const openMill = (): ReturnType<typeof open<Handlers>> =>
    open<Handlers>({ handlers, processors: 1, journal: { directory, retain: "all" } });
  let mill = await openMill();
  const sent = await Promise.all(Array.from({ length: 10 }, (_, n) => mill.publish.settle({ file, n })));
  await Promise.all(sent.map(({ done }) => done));

  const counted = await millrace("replay", directory, "--handler", "settle", "--dry-run", "--json");
  assert.is(counted.code, 0, counted.stderr);
  const document = JSON.parse(counted.stdout) as Record<string, unknown>;
  assert.is(document["isRunning"], true);
  assert.is(document["matched"], 10);
  assert.is(document["published"], 0);

  const options = ["--to-handler", "audit", "--rate", "10000", "--name", "n", "--from", "2000-01-01T00:00:00Z"];
  const done = await millrace("replay", directory, ...options);
  assert.is(done.code, 0, done.stderr);
  assert.match(done.stdout, /10 records published again \(audit 10\)/);
  await mill.drain();
  await mill.close();

  const again = await millrace("replay", directory, ...options);
  assert.match(again.stdout, /0 records published again \(audit 10\); 10 were published before/);
  const stopped = await millrace("replay", directory, "--to", "3", "--json");
  const { isRunning, published } = JSON.parse(stopped.stdout) as { isRunning: boolean; published: number };
  assert.is(isRunning, false);
  mill = await openMill();
  await mill.drain();
  await mill.close();
  assert.is(readFileSync(file, "utf8").split("\n").length - 1, 20 + published);
});

test("what can't be replayed is said with a code, and exits with 1 or 2", async () => {
  const directory = join(temporaryDirectory(), "data");
  const mill = await open<Handlers>({ handlers, processors: 1, journal: { directory } });
  const failed = async (...parameters: string[]): Promise<readonly [number | null, string]> => {
    const { code, stdout } = await millrace("replay", directory, "--json", ...parameters);
    return [code, (JSON.parse(stdout) as { error: { code: string } }).error.code];
  };
  assert.equal(await failed("--from", "1000"), [1, "ERR_REPLAY_RANGE"]);
  assert.equal(await failed("--from", "yesterday"), [2, "ERR_CLI_USAGE"]);
  assert.equal(await failed("--from", "12.5"), [2, "ERR_CLI_USAGE"]);
  assert.equal(await failed("--to", "checkpoint"), [2, "ERR_CLI_USAGE"]);
  assert.equal(await failed("--to-handler", "nobody"), [2, "ERR_HANDLER_UNKNOWN"]);
  await mill.close();
  const missing = await millrace("replay", join(directory, "nowhere"), "--json");
  assert.is(missing.code, 1);
});

test.run();
