// An oracle outside: clients publish over HTTP, repeat what has no answer, and the service is
// killed again and again. The test compares their answers with the records that the handlers have
// written down.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { seededRandom } from "@millrace/base";
import { open } from "millrace";
import { temporaryDirectory } from "../support.ts";
import { type Service, startService } from "../server/service.ts";

const CYCLES = process.env["MILLRACE_CRASH_LONG"] === "1" ? 50 : 10;
const CLIENTS = 8;

interface Sent {
  readonly client: number;
  readonly n: number;
}

const nameOf = ({ client, n }: Sent): string => `${client} ${n}`;

/** One request; undefined without an answer. */
async function publish(url: string, sent: Sent): Promise<number | undefined> {
  try {
    const response = await fetch(`${url}/v1/records/settle`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "idempotency-key": nameOf(sent),
        "x-millrace-key": String(sent.client),
      },
      body: JSON.stringify(sent),
      signal: AbortSignal.timeout(20_000),
    });
    const body = (await response.json()) as { sequence?: number };
    return response.status === 202 ? body.sequence : undefined;
  } catch {
    return undefined;
  }
}

test("kill -9 over HTTP: nothing acknowledged is lost, nothing comes from nowhere", async () => {
  const seed = Number(process.env["MILLRACE_PROPERTY_SEED"] ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const place = temporaryDirectory();
  const directory = join(place, "journal");
  const ledger = join(place, "ledger");
  const acknowledged = new Map<string, number>();
  const sequences = new Map<number, string>();
  const sentNames = new Set<string>();
  let service: Service | undefined;
  let isOver = false;
  let repeats = 0;
  const clients = Array.from({ length: CLIENTS }, async (_, client) => {
    for (let n = 0; !isOver; n += 1) {
      sentNames.add(nameOf({ client, n }));
      let sequence: number | undefined;
      while (sequence === undefined && !isOver) {
        if (service === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
        else {
          sequence = await publish(service.url, { client, n });
          if (sequence === undefined) repeats += 1;
        }
      }
      if (sequence === undefined) return;
      // A repeated publish has the first one's sequence; no two records share one.
      assert.is(sequences.get(sequence) ?? nameOf({ client, n }), nameOf({ client, n }));
      sequences.set(sequence, nameOf({ client, n }));
      acknowledged.set(nameOf({ client, n }), sequence);
    }
  });
  for (let cycle = 0; cycle < CYCLES; cycle += 1) {
    service = await startService(directory, ledger);
    const before = acknowledged.size;
    while (acknowledged.size < before + 20) await new Promise((resolve) => setTimeout(resolve, 2));
    await new Promise((resolve) => setTimeout(resolve, random.below(300)));
    const { child, ended } = service;
    service = undefined;
    child.kill("SIGKILL");
    await ended;
  }
  service = await startService(directory, ledger);
  isOver = true;
  await Promise.all(clients);
  service.child.kill("SIGTERM");
  assert.equal(await service.ended, { code: 0, signal: null });

  process.env["MILLRACE_TEST_LEDGER"] = ledger;
  const handlers = new URL("../../../test/fixtures/ledger-handlers.mjs", import.meta.url);
  const mill = await open({ handlers, processors: 1, journal: { directory } });
  await mill.drain({ all: true });
  const dead = new Set<string>();
  for (const { payload } of await mill.dead.list({ limit: 1_000_000 })) dead.add(nameOf(payload as Sent));
  await mill.close();

  const handled = existsSync(ledger) ? readFileSync(ledger, "utf8").trim().split("\n") : [];
  const firsts = new Map<string, number>();
  const lastOf = new Map<string, number>();
  let ghosts = 0;
  for (const line of handled) {
    const [client = "", n = "", sequence = ""] = line.split(" ");
    const name = `${client} ${n}`;
    if (!sentNames.has(name)) ghosts += 1;
    const known = acknowledged.get(name);
    if (known !== undefined) assert.is(Number(sequence), known, `${name} is record ${known}`);
    if (firsts.has(name)) continue;
    firsts.set(name, Number(sequence));
    assert.ok(Number(n) > (lastOf.get(client) ?? -1), `${name} comes after ${lastOf.get(client)}`);
    lastOf.set(client, Number(n));
  }
  const lost = [...acknowledged.keys()].filter((name) => !firsts.has(name) && !dead.has(name));
  for (const name of dead) assert.is(Number(name.split(" ")[1]) % 13, 12, `${name} is dead`);
  console.log(`${CYCLES} kills, ${acknowledged.size} acknowledged, ${repeats} repeated, ${dead.size} dead`);
  assert.equal([lost, ghosts], [[], 0]);
  assert.ok(repeats > 0 && dead.size > 0);
});

test.run();
