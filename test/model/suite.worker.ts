// Runs one scenario file: there is one world per thread.
import { parentPort, workerData } from "node:worker_threads";
import { type MadeMutant, runFile } from "./suite.ts";

const { url, isDeep, limitMs, made } = workerData as {
  url: string;
  isDeep: boolean;
  limitMs: number;
  made: readonly MadeMutant[];
};
const lines: string[] = [];
const result = await runFile(url, {
  isDeep,
  made,
  ...(isDeep ? { limitMs } : {}),
  say: (line) => void lines.push(line),
});
parentPort?.postMessage({ lines, result });
