/** All benchmarks, by the name that `npm run bench -- NAME` takes. */
import { channels } from "./channels.bench.ts";
import { codec } from "./codec.bench.ts";
import { durableAck } from "./durable-ack.bench.ts";
import type { Benchmark } from "./harness.ts";
import { http } from "./http.bench.ts";
import { ingestFiles } from "./ingest.bench.ts";
import { intake } from "./intake.bench.ts";
import { journalRead } from "./journal-read.bench.ts";
import { latency } from "./latency.bench.ts";
import { pools } from "./pools.bench.ts";
import { recovery } from "./recovery.bench.ts";
import { scaling } from "./scaling.bench.ts";
import { spawn } from "./spawn.bench.ts";
import { sync } from "./sync.bench.ts";
import { taskRoundTrip } from "./task-round-trip.bench.ts";

export const benchmarks: readonly Benchmark[] = [
  durableAck,
  recovery,
  journalRead,
  ingestFiles,
  intake,
  http,
  channels,
  codec,
  sync,
  taskRoundTrip,
  pools,
  spawn,
  latency,
  scaling,
];
