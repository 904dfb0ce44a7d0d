// The live page's requests to the server, without a browser.
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Millrace, open } from "millrace";
import { type AdminAction, createServer, type RecordServer, type ServerOptions } from "@millrace/server";
import { temporaryDirectory } from "../support.ts";

const handlers = new URL("../../../test/fixtures/page-handlers.mjs", import.meta.url);
/** Of the page with its libraries. */
const BYTES_MAX = 150_000;

interface Page {
  readonly mill: Millrace;
  readonly server: RecordServer;
  readonly url: string;
  /** Of `pageUrl`; undefined where a file has the tokens. */
  readonly token: string | undefined;
  readonly actions: readonly AdminAction[];
}

async function withPage(options: ServerOptions, use: (page: Page) => Promise<void>): Promise<void> {
  const directory = join(temporaryDirectory(), "data");
  const settle = { redact: ["card.number"] };
  const mill = await open({ handlers, processors: 1, journal: { directory, retain: "all", handlers: { settle } } });
  const actions: AdminAction[] = [];
  const onAction = (action: AdminAction): unknown => actions.push(action);
  const server = await createServer(mill, { adminPort: 0, onAction, ...options });
  const [, token] = server.pageUrl?.split("#token=") ?? [];
  try {
    await use({ mill, server, url: `http://127.0.0.1:${server.adminPort}`, token, actions });
  } finally {
    await server.close({ drainMs: 5000 });
    await mill.close();
  }
}

interface Got {
  readonly status: number;
  readonly body: any;
}

/** With the headers exactly as given: fetch would choose its own. */
function ask(url: string, headers: Record<string, string> = {}, body?: object): Promise<Got> {
  return new Promise((resolve, reject) => {
    const type = body === undefined ? {} : { "content-type": "application/json" };
    const sent = request(
      url,
      { method: body === undefined ? "GET" : "POST", headers: { ...type, ...headers } },
      (got) => {
        let text = "";
        got.on("data", (chunk) => (text += String(chunk)));
        got.on("end", () => {
          const isJson = got.headers["content-type"]?.startsWith("application/json") === true;
          resolve({ status: got.statusCode as number, body: isJson ? JSON.parse(text) : text });
        });
      },
    );
    sent.once("error", reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

const bearer = (token: string | undefined): Record<string, string> => ({ authorization: `Bearer ${token}` });

/** Reads events of the stream until `isEnough`. */
async function events(
  url: string,
  headers: Record<string, string>,
  isEnough: (all: { name: string; data: any }[]) => boolean,
): Promise<{ name: string; data: any }[]> {
  const ending = new AbortController();
  const response = await fetch(`${url}/api/live`, { headers, signal: ending.signal });
  assert.is(response.status, 200);
  const all: { name: string; data: any }[] = [];
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    const parts = (text + decoder.decode(chunk, { stream: true })).split("\n\n");
    text = parts.pop() as string;
    for (const part of parts) {
      const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(part) ?? [];
      all.push({ name: name as string, data: JSON.parse(data as string) });
    }
    if (isEnough(all)) break;
  }
  ending.abort();
  return all;
}

test("the page and all that it loads come from the server, and take at most 150 kB", () =>
  withPage({}, async ({ url }) => {
    const seen = new Map<string, number>();
    const waiting = ["/"];
    for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
      if (seen.has(path)) continue;
      const response = await fetch(url + path);
      assert.is(response.status, 200, path);
      const policy = response.headers.get("content-security-policy") as string;
      assert.match(policy, /^default-src 'none'; script-src 'self' 'sha256-[\w+/=]+'; style-src 'self'/);
      assert.not.match(policy, /unsafe|http/);
      const text = await response.text();
      seen.set(path, Buffer.byteLength(text));
      assert.not.match(text.replaceAll("http://www.w3.org/2000/svg", ""), /(src|href)=["']?(https?:)?\/\//, path);
      for (const [, found] of text.matchAll(/["'](\/page\/[\w./-]+)["']/g)) waiting.push(found as string);
      for (const [, found] of text.matchAll(/from ["']\.\/([\w.-]+\.js)["']/g)) waiting.push(`/page/${found}`);
    }
    assert.ok(seen.size > 15, `${seen.size} files`);
    const bytes = [...seen.values()].reduce((sum, each) => sum + each, 0);
    assert.ok(bytes <= BYTES_MAX, `${bytes} bytes`);
  }));

test("figures come each second, with what happened in it", () =>
  withPage({}, async ({ mill, url }) => {
    let isOver = false;
    const publishing = (async () => {
      while (!isOver) await mill.publish.settle!({});
    })();
    const all = await events(url, {}, (got) => got.filter(({ data }) => data.row).length >= 2);
    isOver = true;
    await publishing;
    assert.is(all[0]!.name, "history");
    const { moment, row } = all.at(-1)!.data;
    const { columns } = all[0]!.data as { columns: string[] };
    assert.is(row.length, columns.length);
    assert.ok(row[columns.indexOf("stored")] > 0 && moment.perSecond.stored > 0);
    assert.ok(moment.latencyMs.sync.p99 > 0);
    assert.equal(
      moment.lanes.map(({ priority }: { priority: string }) => priority),
      ["high", "normal", "low"],
    );
    const settle = moment.handlers.find(({ handler }: { handler: string }) => handler === "settle");
    assert.ok(settle.done > 0 && settle.donePerSecond > 0);
    // A page that is opened later gets what the others have seen.
    const [later] = await events(url, {}, () => true);
    assert.ok(later!.data.rows.length >= 2);
  }));

test("records need a token that may read, and changes one that may do everything", async () => {
  const file = join(temporaryDirectory(), "tokens");
  const hash = (token: string): string => createHash("sha256").update(token).digest("hex");
  writeFileSync(
    file,
    `sha256:${hash("reader")} read\nsha256:${hash("publisher")} publish\nsha256:${hash("chief")} admin\n`,
  );
  await withPage({ tokenFile: file }, async ({ mill, url, token, actions }) => {
    assert.is(token, undefined);
    const { sequence } = await mill.publish.settle!({ card: { number: "4111" }, refused: true }, { key: "k-1" });
    await mill.drain();
    const paths = [`/api/records/${sequence}`, `/api/records/${sequence}/timeline`, "/api/records?key=k-1"];
    for (const path of [...paths, "/api/dead", "/api/dead/count"]) {
      assert.is((await ask(url + path)).status, 401, path);
      assert.is((await ask(url + path, bearer("nobody"))).status, 401, path);
      assert.is((await ask(url + path, bearer("publisher"))).status, 403, path);
      assert.is((await ask(url + path, bearer("reader"))).status, 200, path);
    }
    const change = { to: Date.now() + 1000 };
    for (const [path, body] of [
      ["/api/dead/redrive", change],
      ["/api/dead/drop", change],
      ["/api/handlers/pause", { handler: "settle" }],
    ] as const) {
      assert.is((await ask(url + path, {}, body)).status, 401, path);
      assert.is((await ask(url + path, bearer("reader"), body)).status, 403, path);
    }
    assert.is(await mill.dead.count(), 1);
    assert.equal(actions, []);
    assert.is((await ask(`${url}/api/schedules`)).status, 200, "figures are for everybody on this machine");
    const { body } = await ask(`${url}/api/records/${sequence}`, bearer("chief"));
    assert.equal(body.record.payload, { card: { number: "[redacted]" }, refused: true });
    assert.equal(body.letter.payload, body.record.payload);
    assert.is(body.state, "dead");
    const list = await ask(`${url}/api/dead`, bearer("chief"));
    assert.is(list.body.letters.length, 1);
    assert.not.ok("payload" in list.body.letters[0]);
  });
});

test("a redrive and a drop mean what was counted, and no letter that died later", () =>
  withPage({}, async ({ mill, url, token, actions }) => {
    const chief = bearer(token);
    const die = async (key: string): Promise<void> => {
      await mill.publish.settle!({ refused: true }, { key });
      await mill.drain();
    };
    await die("a");
    await die("b");
    const { body } = await ask(`${url}/api/dead/count?handler=settle`, chief);
    assert.is(body.count, 2);
    // Until the clock has gone on, a death would have the time of the count.
    while (Date.now() <= body.to) await new Promise((resolve) => setTimeout(resolve, 1));
    await die("c");
    const dropped = await ask(`${url}/api/dead/drop`, chief, { handler: "settle", to: body.to });
    assert.equal([dropped.status, dropped.body], [200, { count: 2 }]);
    assert.equal(
      (await mill.dead.list()).map(({ key }) => key),
      ["c"],
    );
    assert.equal(actions, [{ what: "drop", of: { handler: "settle", to: body.to }, count: 2 }]);
    assert.is(
      (await ask(`${url}/api/dead/drop`, chief, {})).status,
      400,
      "without a time it isn't known what is meant",
    );
    assert.is((await ask(`${url}/api/dead/drop`, chief, { to: Date.now(), handlr: "settle" })).status, 400);
    assert.is((await ask(`${url}/api/dead?handlr=settle`, chief)).status, 400);
    assert.is(await mill.dead.count(), 1);
    const redriven = await ask(`${url}/api/dead/redrive`, chief, { to: Date.now() + 1, toHandler: "shaky" });
    assert.equal(redriven.body, { count: 1 });
    await mill.drain();
    assert.is(await mill.dead.count(), 0);
  }));

test("a handler is paused and resumed, and the action is told", () =>
  withPage({}, async ({ mill, url, token, actions }) => {
    const state = async (): Promise<string | undefined> =>
      (await mill.handlers()).find(({ handler }) => handler === "settle")?.state;
    assert.is((await ask(`${url}/api/handlers/pause`, bearer(token), { handler: "settle" })).status, 200);
    assert.is(await state(), "paused");
    assert.is((await ask(`${url}/api/handlers/resume`, bearer(token), { handler: "settle" })).status, 200);
    assert.is(await state(), "open");
    assert.is((await ask(`${url}/api/handlers/pause`, bearer(token), { handler: "nobody" })).status, 404);
    assert.is((await ask(`${url}/api/handlers/pause`, bearer(token), {})).status, 400);
    assert.equal(
      actions.map(({ what }) => what),
      ["pause", "resume"],
    );
  }));

test("other sites, and names that others have pointed here, are refused", () =>
  withPage({}, async ({ mill, server, url, token }) => {
    const own = `127.0.0.1:${server.adminPort}`;
    const body = { handler: "settle" };
    const foreign: readonly Record<string, string>[] = [
      { host: "evil.example" },
      { host: `evil.example:${server.adminPort}` },
      { host: "127.0.0.1.evil.example" },
      { origin: "http://evil.example" },
      { origin: "null" },
      { origin: `http://127.0.0.1:1` },
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site" },
    ];
    for (const headers of foreign) {
      const name = JSON.stringify(headers);
      assert.is((await ask(`${url}/api/handlers/pause`, { ...bearer(token), ...headers }, body)).status, 403, name);
      assert.is((await ask(`${url}/api/schedules`, headers)).status, 403, name);
      assert.is((await ask(`${url}/api/live`, headers)).status, 403, name);
    }
    assert.is((await mill.handlers()).find(({ handler }) => handler === "settle")?.state, "open");
    for (const headers of [{ origin: `http://${own}` }, { "sec-fetch-site": "same-origin" }, { host: "localhost:1" }]) {
      const { status } = await ask(`${url}/api/schedules`, headers as never);
      assert.is(status, 200, JSON.stringify(headers));
    }
    // Somebody may follow a link to the page.
    assert.is((await ask(`${url}/`, { "sec-fetch-site": "cross-site" })).status, 200);
    assert.is((await ask(`${url}/`, { host: "evil.example" })).status, 403);
    // A form of another site can't send JSON, nor a token.
    const form = { "content-type": "text/plain", ...bearer(token) };
    assert.is((await ask(`${url}/api/handlers/pause`, form, body)).status, 415);
    // Supervisors and Prometheus come by any name.
    assert.is((await ask(`${url}/health/live`, { host: "node-7.cluster" })).status, 200);
  }));

test("metrics and texts of health are kept from other sites as well", () =>
  withPage({}, async ({ server, url }) => {
    const foreign = [
      { host: `evil.example:${server.adminPort}` },
      { host: `127.0.0.1:${server.adminPort}`, "sec-fetch-site": "cross-site" },
    ];
    for (const headers of foreign) {
      assert.is((await ask(`${url}/metrics`, headers)).status, 403);
      assert.is((await ask(`${url}/health/ready?verbose=1`, headers)).status, 403);
      assert.is((await ask(`${url}/health/ready`, headers)).status, 200);
    }
    assert.is((await ask(`${url}/metrics`)).status, 200);
  }));

test("a name that was pointed at the port of records publishes and reads nothing", () =>
  withPage({}, async ({ server }) => {
    const records = `http://127.0.0.1:${server.port}/v1/records`;
    const foreign = { host: `evil.example:${server.port}`, origin: `http://evil.example:${server.port}` };
    assert.is((await ask(`${records}/settle`, foreign, {})).status, 403);
    assert.is((await ask(`${records}/1`, { host: foreign.host })).status, 403);
    assert.is((await ask(`${records}/settle`, { host: `localhost:${server.port}` }, {})).status, 202);
  }));

test("beyond this machine nothing is shown without a token", async () => {
  await withPage({ adminHost: "0.0.0.0", insecureNoAuth: true }, async ({ url, token }) => {
    for (const path of ["/api/live", "/api/schedules", "/api/dead", "/api/records/1"]) {
      assert.is((await ask(url + path)).status, 401, path);
    }
    assert.is((await ask(`${url}/api/schedules`, { ...bearer(token), host: "node-7.cluster" })).status, 200);
    assert.is((await ask(`${url}/`)).status, 200);
  });
});

test("the stream of a token that isn't in the file any more ends", async () => {
  const line = (token: string): string => `sha256:${createHash("sha256").update(token).digest("hex")} read\n`;
  const tokenFile = join(temporaryDirectory(), "tokens");
  writeFileSync(tokenFile, line("one") + line("two"));
  await withPage({ adminHost: "0.0.0.0", tokenFile }, async ({ url }) => {
    const response = await fetch(`${url}/api/live`, { headers: bearer("one") });
    writeFileSync(tokenFile, line("two"));
    await response.text();
    assert.is((await ask(`${url}/api/live`, bearer("one"))).status, 401);
  });
});

test("a listener that throws makes no failure of what was done", () =>
  withPage(
    {
      onAction: () => {
        throw new Error("a listener's own");
      },
    },
    async ({ url, token }) => {
      const { status, body } = await ask(`${url}/api/handlers/pause`, bearer(token), { handler: "settle" });
      assert.equal([status, body], [200, { handler: "settle" }]);
    },
  ));

test("a server without a page has none", () =>
  withPage({ page: false }, async ({ server, url, token }) => {
    assert.is(server.pageUrl, undefined);
    assert.is(token, undefined);
    for (const path of ["/", "/page/main.js", "/api/live"]) assert.is((await ask(url + path)).status, 404, path);
    assert.is((await ask(`${url}/health/ready`)).status, 200);
  }));

test("the end of the server ends the pages' streams at once", () =>
  withPage({}, async ({ server, url }) => {
    const response = await fetch(`${url}/api/live`);
    const reader = response.body!.getReader();
    await reader.read();
    const begun = performance.now();
    await server.close({ drainMs: 30_000 });
    assert.ok(performance.now() - begun < 10_000);
    let isDone = false;
    while (!isDone) ({ done: isDone } = await reader.read());
  }));

test("what isn't there is told as that", () =>
  withPage({}, async ({ url, token }) => {
    const chief = bearer(token);
    for (const [path, status] of [
      ["/api/records/99999", 404],
      ["/api/records/0", 400],
      ["/api/records/1e3", 400],
      ["/api/records/99999999999999999999", 400],
      ["/api/records?key=nobody", 404],
      ["/api/records", 400],
      ["/api/trace", 404],
      ["/api/dead?limit=many", 400],
      ["/page/../package.json", 404],
      ["/page/library/%2e%2e/files.js", 404],
    ] as const) {
      assert.is((await ask(url + path, chief)).status, status, path);
    }
  }));

test.run();
