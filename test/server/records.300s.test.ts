import { createHash } from "node:crypto";
import { createServer as createNodeServer } from "node:http";
import { type AddressInfo, createConnection } from "node:net";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Random, seededRandom } from "@millrace/base";
import { createRequestHandler, createServer } from "@millrace/server";
import { open as openRuntime } from "millrace";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";
import { get, handlersFile, openMill, post, recordsIn, withServer } from "./support.ts";

const NDJSON = { "content-type": "application/x-ndjson" };

test("a record is answered with its sequence when it is durable", () =>
  withServer({}, async ({ url, mill }) => {
    const first = await post(`${url}/v1/records/settle`, { account: "A-1" }, { "idempotency-key": "p-1" });
    assert.is(first.status, 202);
    assert.equal(first.body, { sequence: first.body.sequence, duplicate: false });
    assert.ok(mill.journal.durableSequence >= first.body.sequence);
    const stored = await mill.journal.get(first.body.sequence);
    assert.equal([stored?.handler, stored?.payload], ["settle", { account: "A-1" }]);
    const again = await post(`${url}/v1/records/settle`, { account: "A-1" }, { "idempotency-key": '"p-1"' });
    assert.equal([again.status, again.body], [202, { sequence: first.body.sequence, duplicate: true }]);
    const other = await post(`${url}/v1/records/settle`, { account: "A-2" }, { "idempotency-key": "p-1" });
    assert.equal([other.status, other.body.error.code], [422, "ERR_IDEMPOTENCY_MISMATCH"]);
    assert.is(other.body.error.sequence, first.body.sequence);
  }));

test("headers say key, priority and times, and wrong ones are refused", () =>
  withServer({}, async ({ url, mill }) => {
    const headers = { "x-millrace-key": Buffer.from("Zürich").toString("latin1"), "x-millrace-priority": "high" };
    const kept = await post(`${url}/v1/records/settle`, 1, { ...headers, "x-millrace-delay-ms": "60000" });
    assert.is((await mill.journal.get(kept.body.sequence))?.key, "Zürich");
    assert.is((await get(`${url}/v1/records/${kept.body.sequence}`)).body.state, "waiting");
    const before = await recordsIn(mill);
    const wrong: Record<string, string>[] = [
      { "x-millrace-prio": "high" },
      { "x-millrace-priority": "urgent" },
      { "x-millrace-delay-ms": "-1" },
      { "x-millrace-delay-ms": "1e3" },
      { "x-millrace-ttl-ms": "0" },
      { "x-millrace-ttl-ms": "1", "x-millrace-delay-ms": "5" },
      { "x-millrace-key": "\u00e9" },
      { "x-millrace-key": "k".repeat(1025) },
      { "idempotency-key": "i".repeat(256) },
      { "idempotency-key": '""' },
    ];
    for (const each of wrong) {
      const answer = await post(`${url}/v1/records/settle`, 1, each);
      assert.is(answer.status, 400, JSON.stringify([each, answer.body]));
      assert.ok(answer.body.error.message.length > 0);
    }
    for (const path of ["settle?atomic=1", "settle?dry=1"]) {
      assert.is((await post(`${url}/v1/records/${path}`, 1)).status, 400, path);
    }
    assert.is(await recordsIn(mill), before);
  }));

test("what isn't JSON, UTF-8 or exact is refused with its place", () =>
  withServer({}, async ({ url, mill }) => {
    const cases: [body: string | Uint8Array, position: number][] = [
      ["", 0],
      ["  ", 2],
      ['{"a":1,}', 7],
      ['{"a":1', 6],
      ["[1] 2", 4],
      ['{"a":12345678901234567890}', 5],
      ["1e400", 0],
      [Uint8Array.of(0x22, 0xff, 0x22), 0],
      [Uint8Array.of(0xef, 0xbb, 0xbf, 0x31), 0],
      ["[".repeat(2000), 1000],
    ];
    const before = await recordsIn(mill);
    for (const [body, position] of cases) {
      const { status, body: answer } = await post(`${url}/v1/records/settle`, body);
      assert.equal(
        [status, answer.error.code, answer.error.position],
        [400, "ERR_REQUEST_MALFORMED", position],
        String(body).slice(0, 50),
      );
    }
    assert.is(await recordsIn(mill), before);
  }));

test("types, encodings, sizes and paths that aren't served have a status of their own", () =>
  withServer({ bodyBytesMax: 1000, handlers: ["settle"] }, async ({ url }) => {
    const at = `${url}/v1/records/settle`;
    const { body } = await post(at, "a=1", { "content-type": "application/x-www-form-urlencoded" });
    assert.is(
      body.error.message,
      "the body's type must be application/json or application/x-ndjson, not application/x-www-form-urlencoded",
    );
    const untyped = await post(at, "1", { "content-type": "" });
    assert.is(untyped.body.error.message, "the body's type must be application/json or application/x-ndjson, not none");
    const atomic = await post(`${at}?atomic=1`, "1");
    assert.is(atomic.body.error.message, 'unknown parameter "atomic"; this request takes none');
    const expected: [number, string, () => Promise<{ status: number; body: Record<string, any> }>][] = [
      [415, "ERR_REQUEST_TYPE", () => post(at, "1", { "content-type": "text/plain" })],
      [415, "ERR_REQUEST_TYPE", () => post(at, "1", { "content-type": "application/json; charset=latin1" })],
      [415, "ERR_REQUEST_TYPE", () => post(at, "1", { "content-encoding": "gzip" })],
      [413, "ERR_REQUEST_TOO_LARGE", () => post(at, JSON.stringify("x".repeat(1000)))],
      [404, "ERR_HANDLER_UNKNOWN", () => post(`${url}/v1/records/quote`, "1")],
      [404, "ERR_HANDLER_UNKNOWN", () => post(`${url}/v1/records/constructor`, "1")],
      [404, "ERR_REQUEST_ROUTE", () => post(`${url}/v1/other`, "1")],
      [404, "ERR_REQUEST_ROUTE", () => get(`${url}/health/live`)],
      [404, "ERR_RECORD_UNKNOWN", () => get(`${url}/v1/records/999999`)],
      [404, "ERR_RECORD_UNKNOWN", () => get(`${url}/v1/records/1e3`)],
      [400, "ERR_REQUEST_MALFORMED", () => post(`${url}/v1/records/%zz`, "1")],
    ];
    for (const [status, code, ask] of expected) {
      const answer = await ask();
      assert.equal([answer.status, answer.body.error.code], [status, code], JSON.stringify(answer.body));
    }
    const larger = JSON.stringify({ text: "x".repeat(900) });
    assert.is((await post(at, larger)).status, 202);
  }));

test("a record that no journal takes is too large", () =>
  withServer(
    {},
    async ({ url }) => {
      const { status, body } = await post(`${url}/v1/records/settle`, "x".repeat(20_000).replace(/.*/, '"$&"'));
      assert.equal([status, body.error.code], [413, "ERR_JOURNAL_RECORD_TOO_LARGE"]);
    },
    { recordBytesMax: 10_000 },
  ));

test("a batch has a result for each line, and one key stands for all of them", () =>
  withServer({ linesMax: 5 }, async ({ url, mill }) => {
    const body = '{"n":1}\r\n\n{"n":\n  \n{"n":3}\n';
    const headers = { ...NDJSON, "idempotency-key": "batch-1" };
    const first = await post(`${url}/v1/records/settle`, body, headers);
    assert.is(first.status, 207);
    assert.equal([first.body.stored, first.body.refused], [2, 1]);
    assert.equal(
      first.body.results.map(({ line, duplicate, error }: any) => [line, duplicate, error?.code, error?.position]),
      [
        [1, false, undefined, undefined],
        [3, undefined, "ERR_REQUEST_MALFORMED", 5],
        [5, false, undefined, undefined],
      ],
    );
    const again = await post(`${url}/v1/records/settle`, body, headers);
    assert.equal(
      again.body.results.map(({ sequence, duplicate }: any) => [sequence, duplicate]),
      first.body.results.map(({ sequence }: any) => [sequence, sequence === undefined ? undefined : true]),
    );
    const own = '{"payload":{"n":4},"key":"k","priority":"low","idempotencyKey":"own"}\n{"payload":1,"prio":"low"}';
    const enveloped = await post(`${url}/v1/records/settle?envelope=1`, own, NDJSON);
    assert.is((await mill.journal.get(enveloped.body.results[0].sequence))?.key, "k");
    assert.match(enveloped.body.results[1].error.message, 'did you mean "priority"');
    assert.is((await post(`${url}/v1/records/settle`, "1\n".repeat(6), NDJSON)).status, 413);
    assert.is((await post(`${url}/v1/records/settle`, "\n\n", NDJSON)).status, 400);
  }));

test("an atomic batch is stored together or not at all", () =>
  withServer({}, async ({ url, mill }) => {
    const stored = await post(`${url}/v1/records/settle?atomic=1`, '{"n":1}\n{"n":2}', NDJSON);
    assert.is(stored.status, 202);
    assert.is(stored.body.results[1].sequence, stored.body.results[0].sequence + 1);
    const before = await recordsIn(mill);
    const malformed = await post(`${url}/v1/records/settle?atomic=1`, '{"n":1}\n{"n":}', NDJSON);
    assert.equal([malformed.status, malformed.body.error.position], [400, 13]);
    assert.match(malformed.body.error.message, "line 2");
    assert.is(await recordsIn(mill), before);
  }));

test("a full intake is told with the time to wait, and nothing overtakes", () =>
  withServer(
    {},
    async ({ url, mill }) => {
      await mill.pause("settle");
      const lines = await post(`${url}/v1/records/settle`, "1\n2\n3\n4\n", { ...NDJSON, "x-millrace-key": "k" });
      assert.equal([lines.status, lines.body.stored, lines.body.refused], [207, 2, 2]);
      assert.equal(
        lines.body.results.map((result: any) => result.error?.code),
        [undefined, undefined, "ERR_INTAKE_FULL", "ERR_INTAKE_FULL"],
      );
      assert.ok(Number(lines.headers.get("retry-after")) >= 1);
      const single = await post(`${url}/v1/records/settle`, "5");
      assert.equal([single.status, single.body.error.code], [429, "ERR_INTAKE_FULL"]);
      assert.ok(Number(single.headers.get("retry-after")) >= 1 && single.body.error.retryAfterMs > 0);
      assert.is((await post(`${url}/v1/records/settle?atomic=1`, "6\n7", NDJSON)).status, 429);
      await mill.resume("settle");
    },
    { levels: { unfinished: { high: 2, low: 1 } } },
  ));

test("a batch that is larger than the ring to the disk is taken whole", () =>
  withServer(
    {},
    async ({ url }) => {
      const line = JSON.stringify({ text: "x".repeat(1000) });
      const { status, body } = await post(`${url}/v1/records/settle`, `${line}\n`.repeat(3000), NDJSON);
      assert.equal([status, body.stored, body.refused], [207, 3000, 0]);
      // The same from many clients, a record each.
      const answers = await Promise.all(Array.from({ length: 300 }, () => post(`${url}/v1/records/settle`, line)));
      assert.equal(new Set(answers.map((answer) => answer.status)), new Set([202]));
    },
    { ringBytes: 2 ** 17, recordBytesMax: 10_000, batchBytesMax: 2 ** 16 },
  ));

test("the state of a record and its kept result can be asked for", () =>
  withServer({}, async ({ url, mill }) => {
    const { body } = await post(`${url}/v1/records/quote`, { amount: 250 });
    await mill.drain();
    assert.equal((await get(`${url}/v1/records/${body.sequence}`)).body, {
      sequence: body.sequence,
      state: "done",
      result: { fee: 2.5 },
    });
    const dead = await post(`${url}/v1/records/settle`, { fails: true });
    const slow = await post(`${url}/v1/records/slow`, { ms: 300 });
    const expired = await post(`${url}/v1/records/settle`, 1, {
      "x-millrace-ttl-ms": "200",
      "x-millrace-delay-ms": "100",
    });
    void expired;
    const stateOf = async ({ body: of }: { body: Record<string, any> }): Promise<string> =>
      (await get(`${url}/v1/records/${of.sequence}`)).body.state;
    assert.ok(["waiting", "running"].includes(await stateOf(slow)));
    await mill.drain({ all: true });
    assert.equal([await stateOf(dead), await stateOf(slow)], ["dead", "done"]);
    // A record of the intake's own is no record of a handler.
    for (let sequence = 1; sequence <= mill.journal.durableSequence; sequence += 1) {
      const isRecord = (await mill.journal.get(sequence)) !== undefined;
      assert.is((await get(`${url}/v1/records/${sequence}`)).status, isRecord ? 200 : 404);
    }
  }));

test("a handler is mounted in a server of one's own, before parsers of bodies", async () => {
  const mill = await openMill();
  const handler = await createRequestHandler(mill);
  const server = createNodeServer((request, response) => {
    if (request.url?.startsWith("/taken/") !== true) {
      handler(request, response);
      return;
    }
    request.url = request.url.slice("/taken".length);
    request.resume().once("end", () => setImmediate(() => handler(request, response)));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  assert.is((await post(`${url}/v1/records/settle`, 1)).status, 202);
  const taken = await post(`${url}/taken/v1/records/settle`, 1);
  assert.equal([taken.status, taken.body.error.code], [500, "ERR_BODY_TAKEN"]);
  await new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
  await mill.close();
});

const hashed = (token: string): string => `sha256:${createHash("sha256").update(token).digest("hex")}`;

test("tokens have scopes, and are read again when their file changes", async () => {
  const tokenFile = join(temporaryDirectory(), "tokens");
  writeFileSync(tokenFile, `# two\n${hashed("p")} publish\n${hashed("r")} read\n${hashed("a")} admin # all\n`);
  const warnings: Error[] = [];
  await withServer({ tokenFile, onWarning: (error) => warnings.push(error) }, async ({ url }) => {
    const status = async (token: string | undefined): Promise<number> =>
      (await post(`${url}/v1/records/settle`, 1, token === undefined ? {} : { authorization: `Bearer ${token}` }))
        .status;
    assert.equal(
      [await status(undefined), await status("x"), await status("r"), await status("p"), await status("a")],
      [401, 401, 403, 202, 202],
    );
    assert.is((await get(`${url}/v1/records/1`, { authorization: "bearer p" })).status, 403);
    const refused = await post(`${url}/v1/records/settle`, 1);
    assert.is(refused.headers.get("www-authenticate"), "Bearer");
    writeFileSync(`${tokenFile}.new`, `${hashed("q")} publish\n`);
    renameSync(`${tokenFile}.new`, tokenFile);
    let isNew = false;
    const end = performance.now() + 20_000;
    while (!isNew && performance.now() < end) isNew = (await status("q")) === 202;
    assert.equal([isNew, await status("p")], [true, 401]);
    // A token file that can't be read changes nothing, and the server warns.
    writeFileSync(tokenFile, "q publish\n");
    await until(() => warnings.length > 0, "a warning");
    assert.is((warnings[0] as { code?: string }).code, "ERR_TOKEN_FILE");
    assert.is(await status("q"), 202);
  });
});

test("the end waits for no connection on which nothing was ever sent", async () => {
  const mill = await openMill();
  const server = await createServer(mill, { headersTimeoutMs: 60_000, requestTimeoutMs: 60_000 });
  const socket = createConnection(server.port, "127.0.0.1");
  await new Promise((resolve) => socket.once("connect", resolve));
  const closed = new Promise((resolve) => socket.once("close", resolve));
  const startedMs = performance.now();
  // The limit for headers would end it as well.
  await server.close({ drainMs: 120_000 });
  await closed;
  assert.ok(performance.now() - startedMs < 50_000);
  await mill.close();
});

test("metrics and figures of an exposed admin port need a token", async () => {
  const tokenFile = join(temporaryDirectory(), "tokens");
  writeFileSync(tokenFile, `${hashed("p")} publish\n${hashed("a")} admin\n`);
  await withServer({ tokenFile, adminHost: "0.0.0.0", adminPort: 0 }, async ({ server }) => {
    const status = async (path: string, token?: string): Promise<number> => {
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
      return (await fetch(`http://127.0.0.1:${server.adminPort}${path}`, { headers })).status;
    };
    assert.equal([await status("/health/ready"), await status("/health/ready?verbose=1")], [200, 401]);
    assert.equal(
      [await status("/metrics"), await status("/metrics", "p"), await status("/metrics", "a")],
      [401, 403, 200],
    );
  });
});

test("nobody listens beyond the machine without a token, unless told so", async () => {
  const mill = await openMill();
  for (const host of ["0.0.0.0", "::", "example.org"])
    await rejectsWith(createServer(mill, { host }), "ERR_SERVER_EXPOSED");
  await rejectsWith(createServer(mill, { adminHost: "0.0.0.0", adminPort: 0 }), "ERR_SERVER_EXPOSED");
  const open = await createServer(mill, { host: "0.0.0.0", insecureNoAuth: true });
  await rejectsWith(createServer(mill, { port: open.port }), "ERR_SERVER_LISTEN");
  await rejectsWith(createServer(mill, { ports: 1 } as never), "ERR_INVALID_OPTION");
  await rejectsWith(createServer(mill, { tokenFile: "/nowhere" }), "ERR_TOKEN_FILE");
  await open.close();
  await mill.close();
  const without = await openRuntime({ handlers: handlersFile, processors: 1 });
  await rejectsWith(createServer(without), "ERR_INTAKE_ABSENT");
  await without.close();
});

/** Sends bytes as they are, and returns everything that comes back until the end. */
function raw(port: number, bytes: string | Buffer, isKeptOpen = false): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(port, "127.0.0.1");
    let text = "";
    socket.on("data", (chunk) => (text += String(chunk)));
    socket.on("close", () => resolve(text));
    socket.on("error", reject);
    if (isKeptOpen) socket.write(bytes);
    else socket.end(bytes);
  });
}

test("a client that has ended its side gets its answer", () =>
  withServer({}, async ({ server }) => {
    const head = "POST /v1/records/settle HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    assert.match(await raw(server.port, `${head}Content-Length: 1\r\n\r\n1`), /^HTTP\/1\.1 202 /);
  }));

test("clients that are slow, silent or don't speak HTTP are answered and let go", () =>
  withServer({ headersTimeoutMs: 300, requestTimeoutMs: 700, idleTimeoutMs: 500 }, async ({ server, mill }) => {
    const before = await recordsIn(mill);
    const head = "POST /v1/records/settle HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    const [silent, headers, body, other, long] = await Promise.all([
      raw(server.port, "", true),
      raw(server.port, head, true),
      raw(server.port, `${head}Content-Length: 10\r\n\r\n{"a"`, true),
      raw(server.port, "EHLO you\r\n\r\n", true),
      raw(server.port, `${head}X: ${"x".repeat(20_000)}\r\n\r\n`, true),
    ]);
    assert.match(silent as string, /^HTTP\/1\.1 408 /);
    assert.match(headers as string, /^HTTP\/1\.1 408 .*"ERR_REQUEST_TIMEOUT"/s);
    assert.match(body as string, /^HTTP\/1\.1 408 /);
    assert.match(other as string, /^HTTP\/1\.1 400 .*"ERR_REQUEST_MALFORMED"/s);
    assert.match(long as string, /^HTTP\/1\.1 431 .*"ERR_REQUEST_TOO_LARGE"/s);
    assert.is(await recordsIn(mill), before);
  }));

const HTTP_CASES = 10_000;
const PER_CONNECTION = 100;

/** A request, changed or not. */
function fuzzedRequest({ below }: Random, n: number): Buffer {
  const body = JSON.stringify({ n, text: "äöü €" });
  const type = below(2) === 0 ? "application/json" : "application/x-ndjson";
  const head =
    `POST /v1/records/settle HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\n` +
    `X-Millrace-Key: k\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n`;
  const bytes = Buffer.from(head + body);
  const choice = below(8);
  if (choice === 0) return bytes.subarray(0, below(bytes.length));
  if (choice === 1) bytes[below(bytes.length)] = below(256);
  else if (choice === 2) for (let count = below(10); count >= 0; count -= 1) bytes[below(bytes.length)] = below(256);
  else if (choice === 3) return Buffer.concat([bytes, Buffer.from([below(256)])]);
  else if (choice === 4) bytes.copyWithin(below(bytes.length), below(bytes.length), below(bytes.length));
  return bytes;
}

test("of fuzzed requests none crashes the server, and none is stored in part", () =>
  withServer({}, async ({ server, mill, url }) => {
    const seed = Number(process.env["MILLRACE_PROPERTY_SEED"] ?? 20260713);
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    let answered = 0;
    for (let first = 0; first < HTTP_CASES; first += PER_CONNECTION) {
      const requests = Array.from({ length: PER_CONNECTION }, (_, index) => fuzzedRequest(random, first + index));
      const sockets = requests.map((bytes) => raw(server.port, bytes).catch(() => ""));
      const answers = await Promise.all(sockets);
      for (const answer of answers) {
        if (answer.startsWith("HTTP/1.1 202") || answer.startsWith("HTTP/1.1 207")) answered += 1;
        assert.not.match(answer, "ERR_UNEXPECTED");
      }
    }
    let stored = 0;
    for await (const { payload } of mill.journal.read()) {
      stored += 1;
      // Changed or not, it is a whole JSON value.
      assert.is.not(payload, undefined);
    }
    assert.ok(answered > HTTP_CASES / 4 && stored >= answered / 2, `${stored} stored, ${answered} answered`);
    assert.is((await post(`${url}/v1/records/settle`, 1)).status, 202);
  }));

test("health has a port of its own", () =>
  withServer({ adminPort: 0 }, async ({ server }) => {
    const admin = `http://127.0.0.1:${server.adminPort}`;
    for (const path of ["live", "ready", "started"]) {
      assert.is((await get(`${admin}/health/${path}`)).status, 200, path);
    }
    assert.is((await post(`${admin}/v1/records/settle`, 1)).status, 404);
    assert.is((await get(`${admin}/health/ready?verbose=1`)).body.status, "UP");
    const metrics = await (await fetch(`${admin}/metrics`)).text();
    assert.match(metrics, /^millrace_intake_records_total\b/m);
    const ending = server.close({ readinessDelayMs: 300, drainMs: 1000 });
    const ready = await get(`${admin}/health/ready`);
    assert.equal([ready.status, ready.body.reasons[0].code], [503, "DRAINING"]);
    assert.is((await get(`${admin}/health/live`)).status, 200);
    // Until the delay is over it still takes what comes, and says that it ends.
    const late = await post(`http://127.0.0.1:${server.port}/v1/records/settle`, 1);
    assert.equal([late.status, late.headers.get("connection")], [202, "close"]);
    await ending;
    assert.is(server.state, "closed");
  }));

test.run();
