// Runs one scenario file: there is one world per thread.
import { parentPort, workerData } from "node:worker_threads";
import { runFile } from "./suite.ts";

const { url, isDeep, limitMs } = workerData as { url: string; isDeep: boolean; limitMs: number };
const lines: string[] = [];
const result = await runFile(url, {
  isDeep,
  ...(isDeep ? { limitMs } : {}),
  say: (line) => void lines.push(line),
});
parentPort?.postMessage({ lines, result });
