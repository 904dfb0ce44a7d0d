// The answers of the health endpoints, and probes of the user.
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  HEALTH_GROUPS,
  healthAnswer,
  type HealthGroup,
  type HealthReason,
  type MillraceHealth,
  Probes,
} from "millrace";
import { throwsWith, until } from "../support.ts";

const told = (
  ...reasons: readonly (readonly [HealthReason["code"], HealthReason["status"]])[]
): { health(): MillraceHealth } => ({
  health: () => ({
    status: reasons.some(([, status]) => status === "down") ? "down" : reasons.length > 0 ? "degraded" : "ok",
    reasons: reasons.map(([code, status]) => ({ code, status, text: `text of ${code}`, details: { n: 1 } })),
  }),
});

const statuses = async (mill: { health(): MillraceHealth } | undefined): Promise<Record<HealthGroup, number>> =>
  Object.fromEntries(
    await Promise.all(HEALTH_GROUPS.map(async (group) => [group, (await healthAnswer(mill, group)).status] as const)),
  ) as Record<HealthGroup, number>;

test("each group answers its own question", async () => {
  assert.equal(await statuses(undefined), { live: 200, ready: 503, started: 503 });
  assert.equal(await statuses(told()), { live: 200, ready: 200, started: 200 });
  // A restart heals these.
  for (const code of ["THREADS_DEAD", "DELIVERY_DEAD", "JOURNAL_POISONED", "DIRECTORY_GONE"] as const) {
    assert.equal(await statuses(told([code, "down"])), { live: 503, ready: 503, started: 200 }, code);
  }
  // And never these.
  for (const code of ["CLOSING", "DISK_STUCK", "DISK_FULL", "LEVEL_REJECT"] as const) {
    assert.equal(await statuses(told([code, "down"])), { live: 200, ready: 503, started: 200 }, code);
  }
  for (const code of ["DISK_SLOW", "DEAD_LETTERS", "BACKLOG_OLD", "EVENT_LOOP_DELAY", "KEEPER_DEAD"] as const) {
    assert.equal(await statuses(told([code, "degraded"])), { live: 200, ready: 200, started: 200 }, code);
  }
});

test("an answer says why, without figures unless they are asked for", async () => {
  const mill = told(["DISK_STUCK", "down"], ["DEAD_LETTERS", "degraded"]);
  const { status, headers, body } = await healthAnswer(mill, "ready");
  assert.is(status, 503);
  assert.is(headers["cache-control"], "no-store");
  assert.is(headers["retry-after"], "1");
  assert.equal(
    { ...body, version: "" },
    {
      status: "DOWN",
      group: "ready",
      version: "",
      reasons: [{ code: "DISK_STUCK" }],
      warnings: [{ code: "DEAD_LETTERS" }],
    },
  );
  assert.match(body.version, /^\d+\.\d+\.\d+/);
  const verbose = await healthAnswer(mill, "live", { isVerbose: true });
  assert.is(verbose.headers["retry-after"], undefined);
  assert.equal(verbose.body.reasons, []);
  assert.equal(verbose.body.warnings[0], { code: "DISK_STUCK", text: "text of DISK_STUCK", details: { n: 1 } });
});

test("a required probe makes it not ready, another warns, and liveness asks none", async () => {
  let isUp = true;
  let looks = 0;
  const check = (): void => {
    looks += 1;
    if (!isUp) throw new Error("connection refused");
  };
  const probes = new Probes({
    database: { check, cacheMs: 0, isRequired: true },
    cache: { check: async () => check(), cacheMs: 0 },
  });
  assert.is((await healthAnswer(told(), "ready", { probes })).status, 200);
  isUp = false;
  const { status, body } = await healthAnswer(told(), "ready", { probes, isVerbose: true });
  assert.is(status, 503);
  assert.equal(
    [body.reasons.map(({ code }) => code), body.warnings.map(({ code }) => code)],
    [["PROBE:database"], ["PROBE:cache"]],
  );
  assert.is(body.reasons[0]?.text, "connection refused");
  const before = looks;
  for (const group of ["live", "started"] as const) {
    assert.is((await healthAnswer(told(), group, { probes })).status, 200);
  }
  assert.is(looks, before);
});

test("a result is given again until its time is over, to all who ask at once", async () => {
  let looks = 0;
  const probes = new Probes({ slow: { check: async () => void (looks += 1), cacheMs: 3_600_000 } });
  await Promise.all(Array.from({ length: 20 }, () => probes.results()));
  await probes.results();
  assert.is(looks, 1);
  const fresh = new Probes({ eager: { check: () => void (looks += 1), cacheMs: 0 } });
  await fresh.results();
  await fresh.results();
  assert.is(looks, 3);
});

test("a probe that hangs is down in time, is told to stop, and is not begun twice", async () => {
  let looks = 0;
  let reason: unknown;
  let end = (): void => {};
  const check = (signal: AbortSignal): Promise<void> => {
    looks += 1;
    signal.addEventListener("abort", () => (reason = signal.reason));
    return new Promise((resolve) => (end = resolve));
  };
  const probes = new Probes({ database: { check, timeoutMs: 20, cacheMs: 0 } });
  const [first] = await probes.results();
  assert.equal([first?.status, first?.reason], ["down", "no answer within 20 ms"]);
  assert.match(String(reason), /no answer within 20 ms/);
  const [second] = await probes.results();
  assert.match(second?.reason as string, /^the last look has not returned for \d+ ms$/);
  assert.is(looks, 1);
  end();
  await new Promise((resolve) => setImmediate(resolve));
  const later = probes.results();
  await until(() => looks === 2, "it is looked again");
  end();
  assert.is((await later)[0]?.status, "up");
});

test("whatever a probe throws is a reason, of bounded length", async () => {
  const thrown: unknown[] = [undefined, null, "text", { code: 5 }, new Error("x".repeat(5000)), Symbol("s")];
  for (const each of thrown) {
    const check = (): never => {
      throw each;
    };
    const [result] = await new Probes({ odd: { check } }).results();
    assert.is(result?.status, "down");
    assert.ok(String(result?.reason).length <= 200);
  }
});

test("the longest answer fits into 8 kB, its short form into 2 kB", async () => {
  const check = (): never => {
    throw new Error("x".repeat(5000));
  };
  const probes = new Probes(Object.fromEntries(Array.from({ length: 16 }, (_, n) => [`probe-${n}`, { check }])));
  const short = await healthAnswer(told(["DISK_STUCK", "down"]), "ready", { probes });
  assert.ok(JSON.stringify(short.body).length < 2048);
  const long = await healthAnswer(told(["DISK_STUCK", "down"]), "ready", { probes, isVerbose: true });
  assert.ok(JSON.stringify(long.body).length < 8192);
});

test("wrong probes are refused", () => {
  const check = (): void => {};
  for (const probes of [
    { a: {} },
    { a: { check: 5 } },
    { a: { check, timeout: 5 } },
    { a: { check, timeoutMs: 0 } },
    { a: check },
  ]) {
    throwsWith(() => new Probes(probes as never), "ERR_INVALID_OPTION");
  }
  const many = Object.fromEntries(Array.from({ length: 17 }, (_, n) => [`probe-${n}`, { check }]));
  throwsWith(() => new Probes(many), "ERR_INVALID_OPTION");
});

test.run();
