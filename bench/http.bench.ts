/**
 * Records over HTTP, each answered when it is on disk: one to a request, and a hundred as lines.
 *
 * The peers are what a user would write: fastify in front of an embedded store that syncs. Ours
 * does more per record: it hands each to a handler, which does nothing, and writes down that it is
 * done.
 * Clients run on a thread of their own, and share the computer with what is measured.
 */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import fastify from "fastify";
import { open } from "@millrace/runtime";
import { createServer } from "@millrace/server";
import type { ClientFigures, Clients } from "./fixtures/http-client.ts";
import { type Benchmark, type Measure, percentile, type Subject } from "./harness.ts";
import { peerStores, type StoreKind } from "./stores.ts";

const RECORD = JSON.stringify({ account: "A-1", amount: 10, note: "x".repeat(90) });
const LINES = 100;
const NDJSON = "application/x-ndjson";

/** Connections, each with one request under way, and records in a request. */
const LOADS: Readonly<Record<string, readonly [connections: number, lines: number]>> = {
  single: [64, 1],
  batch: [16, LINES],
};

async function load(port: number, caseId: string, ms: number): Promise<Measure[]> {
  const [connections, lines] = LOADS[caseId] as readonly [number, number];
  const body = lines === 1 ? RECORD : `${RECORD}\n`.repeat(lines);
  const type = lines === 1 ? "application/json" : NDJSON;
  const request =
    `POST /v1/records/settle HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\n` +
    `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  const workerData = { port, connections, request, ms } satisfies Clients;
  const worker = new Worker(new URL("./fixtures/http-client.js", import.meta.url), { workerData });
  const [figures] = (await once(worker, "message")) as [ClientFigures];
  const latencies = Float64Array.from(figures.latenciesUs).toSorted();
  return [
    { unit: "records/s", value: figures.requestsPerSecond * lines, better: "more" },
    { unit: "µs", what: "p50", value: percentile(latencies, 50), better: "less" },
    { unit: "µs", what: "p99", value: percentile(latencies, 99), better: "less" },
  ];
}

const millrace: Subject["run"] = async (caseId, ms, directory) => {
  const handlers = new URL("./fixtures/http-handlers.js", import.meta.url);
  const mill = await open({ handlers, processors: 1, journal: { directory } });
  const server = await createServer(mill);
  const measures = await load(server.port, caseId, ms);
  await server.close();
  await mill.terminate();
  return measures;
};

function behindFastify(kind: StoreKind): Subject["run"] {
  return async (caseId, ms, directory) => {
    const store = await kind.open(directory);
    const app = fastify();
    let next = 1;
    const append = (record: Buffer): Promise<unknown> => {
      next += 1;
      return store.append(next, record);
    };
    app.addContentTypeParser(NDJSON, { parseAs: "buffer" }, (_request, body, done) => done(null, body));
    app.post("/v1/records/settle", async (request, reply) => {
      const first = next;
      if (request.body instanceof Buffer) {
        const lines = request.body
          .toString()
          .split("\n")
          .filter((line) => line !== "");
        await Promise.all(lines.map((line) => append(Buffer.from(JSON.stringify(JSON.parse(line))))));
      } else await append(Buffer.from(JSON.stringify(request.body)));
      return reply.code(202).send({ sequence: first });
    });
    await app.listen({ port: 0, host: "127.0.0.1" });
    const { port } = app.server.address() as { port: number };
    const measures = await load(port, caseId, ms);
    app.server.closeAllConnections();
    await app.close();
    await store.close();
    return measures;
  };
}

export const http: Benchmark = {
  name: "http",
  cases: [
    { id: "single", words: "a record of 130 bytes to a request, 64 connections" },
    { id: "batch", words: "100 records of 130 bytes to a request, 16 connections" },
  ],
  subjects: [
    { name: "millrace", run: millrace },
    ...peerStores.map((kind) => ({
      name: `fastify + ${kind.name}`,
      unavailable: kind.unavailable,
      run: behindFastify(kind),
    })),
  ],
  effort: { full: { rounds: 5, cellMs: 3000 }, quick: { rounds: 1, cellMs: 1000 } },
};
