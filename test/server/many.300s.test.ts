// Many clients at once: 2000 here, 10,000 with MILLRACE_TEST_SOCKETS=10000.
import { createConnection, type Socket } from "node:net";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { temporaryDirectory } from "../support.ts";
import { startService } from "./service.ts";
import { get, post } from "./support.ts";

const SOCKETS = Number(process.env.MILLRACE_TEST_SOCKETS ?? 2000);
/** Connections that are being made at once: what a listener's queue holds. */
const CONNECTING_MAX = 200;

class Client {
  readonly #socket: Socket;
  #text = "";
  #tell: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk) => {
      this.#text += String(chunk);
      this.#tell?.();
    });
  }

  static connect(port: number): Promise<Client> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(port, "127.0.0.1");
      socket.once("error", reject);
      socket.once("connect", () => resolve(new Client(socket)));
    });
  }

  /** The answer to a frame. */
  ask(frame: object): Promise<{ sequence?: number }> {
    this.#text = "";
    this.#socket.write(`${JSON.stringify(frame)}\n`);
    return new Promise((resolve) => {
      this.#tell = () => {
        if (this.#text.endsWith("\n")) resolve(JSON.parse(this.#text) as { sequence?: number });
      };
    });
  }

  end(): Promise<void> {
    return new Promise((resolve) => {
      this.#socket.once("close", () => resolve());
      this.#socket.end();
    });
  }
}

test(`${SOCKETS} sockets at once are all answered, and HTTP beside them`, async () => {
  const place = temporaryDirectory();
  const service = await startService(join(place, "journal"), join(place, "ledger"), ["--frame-port", "0"]);
  const clients: Client[] = [];
  const begun = performance.now();
  while (clients.length < SOCKETS) {
    const more = Math.min(CONNECTING_MAX, SOCKETS - clients.length);
    clients.push(...(await Promise.all(Array.from({ length: more }, () => Client.connect(service.framePort!)))));
  }
  const sequences = new Set<number | undefined>();
  for (const round of [1, 2]) {
    const answers = await Promise.all(
      clients.map((client, n) => client.ask({ handler: "settle", payload: { name: `r-${round}-${n}` } })),
    );
    for (const { sequence } of answers) sequences.add(sequence);
    assert.is((await post(`${service.url}/v1/records/settle`, { name: "beside" })).status, 202);
    assert.is((await get(`${service.adminUrl}/health/live`)).status, 200);
  }
  assert.is(sequences.size, 2 * SOCKETS);
  assert.not.ok(sequences.has(undefined));
  console.log(`${2 * SOCKETS} records over ${SOCKETS} sockets in ${Math.round(performance.now() - begun)} ms`);
  await Promise.all(clients.map((client) => client.end()));
  service.child.kill("SIGTERM");
  assert.equal(await service.ended, { code: 0, signal: null });
});

test.run();
