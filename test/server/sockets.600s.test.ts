// Frames over TCP and Unix sockets, from clients of every kind.
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { connect, createConnection, type Socket } from "node:net";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Random, seededRandom } from "@millrace/base";
import { FrameReader, frameOf } from "@millrace/server/internal/socket/frames";
import { createServer } from "@millrace/server";
import { rejectsWith, temporaryDirectory } from "../support.ts";
import { openMill, recordsIn, type Served, withServer } from "./support.ts";

type Kind = "line" | "length";

/** The answers of a connection until its end, one after the other. */
function talk(socket: Socket, kind: Kind, bytes: Buffer | readonly Buffer[]): Promise<Record<string, any>[]> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("error", () => {});
    socket.on("close", () => resolve(answersIn(kind, Buffer.concat(chunks))));
    for (const chunk of (Buffer.isBuffer(bytes) ? [bytes] : bytes) as Buffer[]) socket.write(chunk);
    socket.end();
  });
}

/** The answers of a connection by lines until its end. */
function talkOf(socket: Socket): Promise<Record<string, any>[]> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  return new Promise((resolve) => socket.on("close", () => resolve(answersIn("line", Buffer.concat(chunks)))));
}

function answersIn(kind: Kind, bytes: Buffer): Record<string, any>[] {
  if (kind === "line") {
    const lines = bytes.toString().split("\n").slice(0, -1);
    return lines.map((line) => JSON.parse(line) as object);
  }
  const reader = new FrameReader(2 ** 20);
  reader.feed(bytes);
  const answers: object[] = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next())
    answers.push(JSON.parse(frame.toString()));
  return answers;
}

const frames = (kind: Kind, ...values: unknown[]): Buffer =>
  Buffer.concat(values.map((value) => frameOf(kind, typeof value === "string" ? value : JSON.stringify(value))));

const clientOf = ({ server }: Served): Socket => createConnection(server.framePort as number, "127.0.0.1");

test("what a web page makes a browser post to the port is no frame", () =>
  withServer({ framePort: 0 }, async (served) => {
    const body = `${JSON.stringify({ handler: "settle", payload: "owned" })}\n`;
    const lines = ["/", `/${"a".repeat(4000)}`, "*", "http://127.0.0.1/"].map((path) => `POST ${path} HTTP/1.1`);
    for (const line of [...lines, "patch / HTTP/1.1", "PRI * HTTP/2.0"]) {
      const head = `${line}\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n\r\n`;
      const answers = await talk(clientOf(served), "line", Buffer.from(head + body));
      assert.equal(
        answers.map(({ error }) => error?.code),
        ["ERR_REQUEST_MALFORMED"],
      );
    }
    assert.is(await recordsIn(served.mill), 0);
  }));

test("a server ends while its input stays open, when each frame has its answer", () =>
  withServer({}, async ({ server }) => {
    const [input, output] = [new PassThrough(), new PassThrough()];
    const taken = server.take(input, output);
    input.write(`${JSON.stringify({ handler: "settle", payload: 1 })}\n`);
    const [answer] = (await once(output, "data")) as [Buffer];
    assert.is(JSON.parse(answer.toString()).duplicate, false);
    const drainMs = 60_000;
    const startedAt = performance.now();
    await server.close({ drainMs });
    await taken;
    assert.ok(performance.now() - startedAt < drainMs / 2);
    assert.ok(output.writable);
  }));

for (const kind of ["line", "length"] as const) {
  test(`frames by ${kind} are answered in their order, before the end`, () =>
    withServer({ framePort: 0 }, async (served) => {
      const sent = Array.from({ length: 3000 }, (_, n) => ({ handler: "settle", payload: { n }, key: "k" }));
      const answers = await talk(clientOf(served), kind, frames(kind, ...sent));
      assert.is(answers.length, sent.length);
      for (const [n, { sequence, duplicate }] of answers.entries()) {
        assert.is(duplicate, false);
        if (n > 0) assert.ok(sequence > answers[n - 1]!.sequence);
      }
      const last = await served.mill.journal.get(answers.at(-1)!.sequence);
      assert.equal([last?.payload, last?.key], [{ n: 2999 }, "k"]);
    }));

  test(`a wrong frame by ${kind} is answered, and the others are stored`, () =>
    withServer({ framePort: 0 }, async (served) => {
      const answers = await talk(
        clientOf(served),
        kind,
        frames(
          kind,
          { handler: "settle", payload: 1, idempotencyKey: "a" },
          "{no json",
          { handler: "nobody", payload: 1 },
          { handler: "settle" },
          { handler: "settle", payload: 1, prio: "low" },
          { handler: "settle", payload: 1, delayMs: -1 },
          [],
          { handler: 7, payload: 1 },
          { handler: "settle", payload: 2, idempotencyKey: "a" },
          { handler: "settle", payload: 1, idempotencyKey: "a" },
        ),
      );
      assert.equal(
        answers.map(({ error, duplicate }) => error?.code ?? duplicate),
        [
          false,
          "ERR_REQUEST_MALFORMED",
          "ERR_HANDLER_UNKNOWN",
          "ERR_REQUEST_INVALID",
          "ERR_REQUEST_INVALID",
          "ERR_INVALID_OPTION",
          "ERR_REQUEST_INVALID",
          "ERR_REQUEST_INVALID",
          "ERR_IDEMPOTENCY_MISMATCH",
          true,
        ],
      );
    }));
}

test("a Unix socket is its owner's, and replaces what a killed process left", async () => {
  const framePath = join(temporaryDirectory(), "frames.sock");
  await withServer({ framePath }, async () => {
    assert.is(statSync(framePath).mode & 0o777, 0o600);
    const [answer] = await talk(connect(framePath), "line", frames("line", { handler: "settle", payload: 1 }));
    assert.ok(answer!.sequence > 0);
  });
  assert.not.ok(existsSync(framePath));
});

test("a relative path is the one of the beginning, wherever the process goes", async () => {
  const before = process.cwd();
  const place = temporaryDirectory();
  const foreign = join(place, "elsewhere", "frames.sock");
  mkdirSync(join(place, "elsewhere"));
  writeFileSync(foreign, "");
  process.chdir(place);
  try {
    await withServer({ framePath: "frames.sock" }, () => Promise.resolve(process.chdir("elsewhere")));
  } finally {
    process.chdir(before);
  }
  assert.ok(existsSync(foreign));
  assert.not(existsSync(join(place, "frames.sock")));
});

test("a path where nothing can listen is refused, and nothing stays open", async () => {
  const directory = temporaryDirectory();
  const mill = await openMill();
  for (const [framePath, why] of [
    [join(directory, "f".repeat(120)), "a socket's path has at most"],
    [join(directory, "absent", "frames.sock"), "there is no directory"],
  ] as const) {
    const error = await rejectsWith(createServer(mill, { framePath, framePort: 0, adminPort: 0 }), "ERR_SERVER_LISTEN");
    assert.match(error.message, why);
  }
  assert.equal(readdirSync(directory), []);
  await mill.close();
});

test("a Unix socket at which another server listens is left alone", async () => {
  const framePath = join(temporaryDirectory(), "frames.sock");
  await withServer({ framePath }, async () => {
    const other = await openMill();
    await rejectsWith(createServer(other, { framePath }), "ERR_SERVER_LISTEN");
    await other.close();
    const [answer] = await talk(connect(framePath), "line", frames("line", { handler: "settle", payload: 1 }));
    assert.ok(answer!.sequence > 0);
  });
});

test("a connection needs a token before its first record", async () => {
  const tokenFile = join(temporaryDirectory(), "tokens");
  const hash = createHash("sha256").update("secret").digest("hex");
  writeFileSync(tokenFile, `sha256:${hash} publish\n`);
  await withServer({ framePort: 0, tokenFile }, async (served) => {
    const record = { handler: "settle", payload: 1 };
    const answers = await talk(
      clientOf(served),
      "line",
      frames("line", record, { token: "guess" }, record, { token: "secret" }, record),
    );
    assert.equal(
      answers.map(({ error, ok, duplicate }) => error?.code ?? ok ?? duplicate),
      ["ERR_TOKEN_REFUSED", "ERR_TOKEN_REFUSED", "ERR_TOKEN_REFUSED", true, false],
    );
    assert.is(await recordsIn(served.mill), 1);
  });
});

/** Sends and keeps its side open; what it was answered, and how long it was let. */
function hold(served: Served, bytes: Buffer): Promise<string> {
  return new Promise((resolve) => {
    const socket = clientOf(served);
    let text = "";
    socket.on("data", (chunk) => (text += String(chunk)));
    socket.on("error", () => {});
    socket.on("close", () => resolve(text));
    socket.write(bytes);
  });
}

test("a client that never ends a write with its frame isn't slow", () =>
  withServer({ framePort: 0, requestTimeoutMs: 1500 }, async (served) => {
    const socket = clientOf(served);
    const answers = talkOf(socket);
    const count = 14;
    const frame = `${JSON.stringify({ handler: "settle", payload: 1 })}\n`;
    const half = frame.length >> 1;
    socket.write(frame.slice(0, half));
    // For longer than a frame may take.
    for (let n = 1; n < count; n += 1) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      socket.write(frame.slice(half) + frame.slice(0, half));
    }
    socket.end(frame.slice(half));
    const stored = (await answers).filter(({ sequence }) => sequence > 0);
    assert.is(stored.length, count);
  }));

test("slow, silent, endless and half-open clients are let go, and store nothing", () =>
  withServer({ framePort: 0, requestTimeoutMs: 400, idleTimeoutMs: 600, frameBytesMax: 1000 }, async (served) => {
    const [silent, slow, endless, tooLong, halfLength, cut] = await Promise.all([
      hold(served, Buffer.alloc(0)),
      hold(served, Buffer.from('{"handler":"settle","pay')),
      hold(served, Buffer.alloc(5000, "x")),
      hold(served, Buffer.from([0, 0xff, 0xff, 0xff])),
      hold(served, Buffer.from([0, 0])),
      talk(clientOf(served), "line", Buffer.from('{"handler":"settle","payload":1}')),
    ]);
    assert.is(silent, "");
    assert.match(slow as string, "ERR_REQUEST_TIMEOUT");
    assert.match(endless as string, "ERR_REQUEST_TOO_LARGE");
    assert.match(tooLong as string, "ERR_REQUEST_TOO_LARGE");
    assert.match(halfLength as string, "ERR_REQUEST_TIMEOUT");
    // Without its line end the frame may lack its last digits.
    assert.is((cut as { error: { code: string } }[])[0]!.error.code, "ERR_REQUEST_MALFORMED");
    assert.is(await recordsIn(served.mill), 0);
  }));

test("a client that doesn't read its answers is read no more, and let go", () =>
  withServer({ framePort: 0, idleTimeoutMs: 1000 }, async (served) => {
    const socket = clientOf(served).pause();
    socket.on("error", () => {});
    const closed = new Promise((resolve) => socket.once("close", resolve));
    const wrong = Buffer.from(`${"x".repeat(10)}\n`.repeat(50_000));
    for (let turn = 0; turn < 20; turn += 1) socket.write(wrong);
    await new Promise((resolve) => setTimeout(resolve, 3000));
    // The memory that the server kept for it was bounded; it learns of the end when it reads.
    socket.resume();
    await closed;
    assert.is(await recordsIn(served.mill), 0);
  }));

const CASES = 12_000;
const PER_CONNECTION = 200;

/** A frame, changed or not. */
function fuzzedFrame({ below }: Random, kind: Kind, n: number): Buffer {
  const whole = frameOf(
    kind,
    JSON.stringify({ handler: "settle", payload: { n, text: "äöü €" }, idempotencyKey: `f-${n}` }),
  );
  const choice = below(8);
  if (choice < 2) return whole;
  const bytes = Buffer.from(whole);
  if (choice === 2) return bytes.subarray(0, below(bytes.length));
  if (choice === 3) bytes[below(bytes.length)] = below(256);
  else if (choice === 4) for (let count = below(10); count >= 0; count -= 1) bytes[below(bytes.length)] = below(256);
  else if (choice === 5) return Buffer.concat([bytes, Buffer.from([below(256)])]);
  else if (choice === 6) bytes.copyWithin(below(bytes.length), below(bytes.length), below(bytes.length));
  else return Buffer.from(Array.from({ length: below(60) }, () => below(256)));
  return bytes;
}

test("of fuzzed frames none crashes the server, and none is stored in part", () =>
  withServer({ framePort: 0, frameBytesMax: 4096 }, async (served) => {
    const seed = Number(process.env["MILLRACE_PROPERTY_SEED"] ?? 20260713);
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    let stored = 0;
    let refused = 0;
    const answered = new Set<number>();
    for (let first = 0; first < CASES; first += PER_CONNECTION) {
      const kind: Kind = random.below(2) === 0 ? "line" : "length";
      const chunks = Array.from({ length: PER_CONNECTION }, (_, index) => fuzzedFrame(random, kind, first + index));
      for (const { sequence, error } of await talk(clientOf(served), kind, chunks)) {
        if (error === undefined) {
          stored += 1;
          answered.add(sequence);
        } else {
          refused += 1;
          assert.not.equal(error.code, "ERR_UNEXPECTED", error.message);
        }
      }
    }
    assert.ok(stored > 0 && refused > 0, `${stored} stored, ${refused} refused`);
    // Every stored record is one that a client got an answer for, and is whole.
    for await (const { sequence, payload } of served.mill.journal.read()) {
      if (payload === undefined) continue;
      assert.ok(answered.has(sequence), `record ${sequence} has an answer`);
    }
    assert.is(served.server.state, "running");
  }));

test.run();
