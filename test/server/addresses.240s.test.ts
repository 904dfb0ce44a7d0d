// Limits of one address.
import { once } from "node:events";
import { Agent, request } from "node:http";
import { createConnection, type Socket } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Addresses } from "@millrace/server/internal/access/addresses";
import { get, post, recordsIn, withServer } from "./support.ts";

test("an address may send a second's worth at once, and then as many as it says", () => {
  let now = 1000;
  const addresses = new Addresses({ connectionsMax: undefined, requestsPerSecond: 4 }, () => now);
  const takes = (): number => {
    let count = 0;
    for (; addresses.waitMs("a") === 0; count += 1) addresses.take("a");
    return count;
  };
  assert.is(takes(), 4);
  assert.is(addresses.waitMs("a"), 250);
  assert.is(addresses.waitMs("b"), 0, "another one isn't touched");
  now += 250;
  assert.is(takes(), 1);
  now += 60_000;
  assert.is(takes(), 4, "what wasn't used isn't saved");
});

test("a connection that ends makes room for another of its address", () => {
  const addresses = new Addresses({ connectionsMax: 2, requestsPerSecond: undefined }, () => 0);
  assert.equal(
    [1, 2, 3].map(() => addresses.opened("a")),
    [true, true, false],
  );
  assert.ok(addresses.opened("b"));
  addresses.closed("a");
  assert.equal(
    [1, 2].map(() => addresses.opened("a")),
    [true, false],
  );
});

test("a network of IPv6 counts as one client, and IPv4 within IPv6 as itself", () => {
  const addresses = new Addresses({ connectionsMax: 1, requestsPerSecond: undefined }, () => 0);
  assert.ok(addresses.opened("2001:db8:1:2::1"));
  assert.not.ok(addresses.opened("2001:db8:1:2:ffff::1"));
  assert.ok(addresses.opened("2001:db8:1:3::1"));
  assert.ok(addresses.opened("2001:db8::1"));
  assert.ok(addresses.opened("10.0.0.1"));
  assert.not.ok(addresses.opened("::ffff:10.0.0.1"));
  assert.ok(addresses.opened("10.0.0.2"));
  assert.ok(addresses.opened("fe80::1%eth0"));
  assert.not.ok(addresses.opened("fe80::2%eth0"));
  addresses.closed("2001:db8:1:2::1");
  assert.ok(addresses.opened("2001:db8:1:2::9"));
});

test("addresses that come once are forgotten, those with connections aren't", () => {
  let now = 0;
  const addresses = new Addresses({ connectionsMax: 1, requestsPerSecond: 1 }, () => now);
  assert.ok(addresses.opened("stays"));
  for (let n = 0; n < 250_000; n += 1) {
    now += 1;
    addresses.take(`a-${n}`);
  }
  assert.not.ok(addresses.opened("stays"));
  assert.ok(addresses.waitMs("a-249999") > 0);
});

test("requests over the rate are refused with 429, and not stored", () =>
  withServer({ adminPort: 0, requestsPerSecondMax: 5 }, async ({ mill, server, url }) => {
    const answers = await Promise.all(Array.from({ length: 40 }, (_, n) => post(`${url}/v1/records/settle`, { n })));
    const stored = answers.filter(({ status }) => status === 202).length;
    const refused = answers.filter(({ status }) => status === 429);
    assert.ok(stored >= 5 && refused.length > 0, `${stored} stored, ${refused.length} refused`);
    assert.is(stored + refused.length, 40);
    for (const { headers, body } of refused) {
      assert.is(body.error.code, "ERR_REQUEST_RATE");
      assert.ok(body.error.retryAfterMs > 0 && Number(headers.get("retry-after")) >= 1);
    }
    assert.is(await recordsIn(mill), stored);
    // Supervisors aren't counted.
    for (let n = 0; n < 20; n += 1) {
      assert.is((await get(`http://127.0.0.1:${server.adminPort}/health/live`)).status, 200);
    }
    await new Promise((resolve) => setTimeout(resolve, refused.at(-1)!.body.error.retryAfterMs + 300));
    assert.is((await post(`${url}/v1/records/settle`, 1)).status, 202);
  }));

test("frames over the rate wait, and all are stored in their order", () =>
  withServer({ framePort: 0, requestsPerSecondMax: 40 }, async ({ mill, server }) => {
    const begun = performance.now();
    const sequences = await new Promise<number[]>((resolve) => {
      const socket = createConnection(server.framePort as number, "127.0.0.1");
      let text = "";
      socket.on("data", (chunk) => (text += String(chunk)));
      socket.on("close", () =>
        resolve(
          text
            .trim()
            .split("\n")
            .map((line) => JSON.parse(line).sequence),
        ),
      );
      for (let n = 0; n < 100; n += 1) socket.write(`{"handler":"settle","payload":${n}}\n`);
      socket.end();
    });
    assert.is(sequences.length, 100);
    assert.equal(
      sequences,
      sequences.toSorted((left, right) => left - right),
    );
    // 40 at once, and 60 at 40 a second.
    assert.ok(performance.now() - begun >= 1400);
    assert.is(await recordsIn(mill), 100);
  }));

/** Resolves with whether the server has closed it. */
function isClosed(socket: Socket): Promise<boolean> {
  return new Promise((resolve) => {
    socket.on("error", () => {});
    socket.once("close", () => resolve(true));
    setTimeout(() => resolve(false), 1000).unref();
  });
}

test("a frame whose rest isn't read because of the rate isn't late", () =>
  withServer({ framePort: 0, requestsPerSecondMax: 1, requestTimeoutMs: 800 }, async ({ mill, server }) => {
    const [slow, other] = [0, 1].map(() => createConnection(server.framePort as number, "127.0.0.1")) as [
      Socket,
      Socket,
    ];
    const answerOf = async (socket: Socket): Promise<string> => String((await once(socket, "data"))[0]);
    const answers = [answerOf(other), answerOf(slow)];
    const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 50));
    slow.write('{"handler":"settle",');
    await pause();
    // Takes what the address may send within this second.
    other.write('{"handler":"settle","payload":1}\n');
    await pause();
    slow.write('"payload":2}\n');
    for (const answer of await Promise.all(answers)) assert.match(answer, "sequence");
    assert.is(await recordsIn(mill), 2);
    for (const socket of [slow, other]) socket.destroy();
  }));

test("one connection too many of an address is closed, and one that ends makes room", () =>
  withServer({ framePort: 0, connectionsPerAddressMax: 3 }, async ({ server }) => {
    const ports = [server.port, server.framePort as number, server.port];
    const held = ports.map((port) => createConnection(port, "127.0.0.1"));
    assert.equal(await Promise.all(held.map(isClosed)), [false, false, false]);
    for (const port of [server.port, server.framePort as number]) {
      assert.ok(await isClosed(createConnection(port, "127.0.0.1")), "over all ports together");
    }
    held[0]!.destroy();
    // The server learns of it a moment later.
    let status: number | undefined;
    while (status === undefined) {
      status = await new Promise<number | undefined>((resolve) => {
        const agent = new Agent({ keepAlive: false });
        const sent = request(`http://127.0.0.1:${server.port}/v1/records/1`, { agent }, (response) => {
          response.resume();
          resolve(response.statusCode);
        });
        sent.once("error", () => resolve(undefined));
        sent.end();
      });
    }
    assert.is(status, 404);
    for (const socket of held) socket.destroy();
  }));

test.run();
