import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { open } from "millrace";
import { summary } from "./summary.mjs";

const { values } = parseArgs({
  options: {
    rate: { type: "string", default: "500" },
    seconds: { type: "string", default: "2" },
    directory: { type: "string", default: "./data" },
    processors: { type: "string" },
  },
});
const rate = Number(values.rate);
const total = Math.round(rate * Number(values.seconds));

const mill = await open({
  handlers: new URL("./handlers.mjs", import.meta.url),
  ...(values.processors === undefined ? {} : { processors: Number(values.processors) }),
  journal: { directory: values.directory },
});

const acknowledged = [];
const completed = [];
const errors = new Map();
let lateMs = 0;

/** Sends one record that was due at `dueMs`, and notes when it was stored and when it was done. */
async function send(number, dueMs) {
  lateMs = Math.max(lateMs, performance.now() - dueMs);
  try {
    const { done } = await mill.publish.work({ number });
    acknowledged.push(performance.now() - dueMs);
    await done;
    completed.push(performance.now() - dueMs);
  } catch (error) {
    errors.set(error.code, (errors.get(error.code) ?? 0) + 1);
  }
}

const startMs = performance.now();
const sent = [];
while (sent.length < total) {
  const due = Math.min(total, Math.floor(((performance.now() - startMs) * rate) / 1000) + 1);
  while (sent.length < due) sent.push(send(sent.length, startMs + (sent.length * 1000) / rate));
  await sleep(1);
}
await Promise.all(sent);
const tookMs = performance.now() - startMs;
await mill.close();

const report = {
  node: process.version,
  rate,
  sent: sent.length,
  acknowledged: acknowledged.length,
  completed: completed.length,
  lost: acknowledged.length - completed.length,
  errors: Object.fromEntries(errors),
  perSecond: Math.round((completed.length * 1000) / tookMs),
  // Sent later than it was due: beyond a few ms the harness was the bottleneck.
  latestMs: Number(lateMs.toFixed(2)),
  acknowledgedMs: summary(acknowledged),
  completedMs: summary(completed),
};
console.log(JSON.stringify(report, undefined, 2));
process.exitCode = report.lost === 0 && errors.size === 0 ? 0 : 1;
