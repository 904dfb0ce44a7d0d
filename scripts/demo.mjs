// `npm start`: ingests real records and is killed in the middle; runs the crash cycle; prints one
// table.
//
// Every step runs the users' command (packages/cli/bin/millrace.mjs). The counts come from ledgers
// that the handlers write outside the journal. Exits with 3 if one acknowledged record is lost.
// `--short` is for CI.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const millrace = join(root, "packages/cli/bin/millrace.mjs");
const flightsFile = join(root, "node_modules/vega-datasets/data/flights-200k.json");
const FLIGHTS = 200_000;
const ENTRY_BYTES = 4;
const isShort = process.argv.includes("--short");

const work = mkdtempSync(join(tmpdir(), "millrace-demo-"));
const ledgers = join(work, "ledgers");
mkdirSync(ledgers);
const children = new Set();
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(work, { recursive: true, force: true });
});
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
])
  process.on(signal, () => process.exit(code));

/** Runs the command; resolves with its exit code and the document that it printed. */
function run(args, onStart = () => {}) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [millrace, ...args, "--json"], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, FLIGHTS_LEDGER: ledgers },
    });
    children.add(child);
    let output = "";
    let messages = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (messages += chunk));
    child.on("close", (code, signal) => {
      children.delete(child);
      resolve({ code, signal, messages, document: output === "" ? undefined : JSON.parse(output) });
    });
    onStart(child);
  });
}

function fail(step, { code, messages }) {
  console.error(`\n${step} ended with exit code ${code}:\n${messages}`);
  process.exit(code === 0 ? 1 : (code ?? 1));
}

/** The number of flights in the ledgers so far, repeated ones included. */
function handledSoFar() {
  return readdirSync(ledgers).reduce(
    (sum, name) => sum + Math.floor(statSync(join(ledgers, name)).size / ENTRY_BYTES),
    0,
  );
}

/** The number of flights that were handled, and of repeated calls. */
function readLedgers() {
  const seen = new Uint8Array(FLIGHTS + 1);
  let handled = 0;
  let again = 0;
  for (const name of readdirSync(ledgers)) {
    const bytes = readFileSync(join(ledgers, name));
    for (let offset = 0; offset + ENTRY_BYTES <= bytes.length; offset += ENTRY_BYTES) {
      const line = bytes.readUInt32LE(offset);
      if (seen[line] === 1) again += 1;
      else handled += 1;
      seen[line] = 1;
    }
  }
  return { handled, again };
}

async function ingestFlights() {
  const args = [
    "ingest",
    flightsFile,
    "--handler",
    `${join(root, "examples/flights/handlers.mjs")}#flight`,
    "--dir",
    join(work, "flights"),
    "--quiet",
    // The system's directory for temporary files may be memory; a kill leaves that alone.
    "--allow-unsafe-storage",
  ];
  console.log(`1. ingest of ${FLIGHTS.toLocaleString("en-US")} real flights, killed (SIGKILL) in the middle …`);
  const first = await run(args, (child) => {
    const timer = setInterval(() => {
      if (handledSoFar() < FLIGHTS / 2) return;
      clearInterval(timer);
      child.kill("SIGKILL");
    }, 2);
    child.on("close", () => clearInterval(timer));
  });
  if (first.signal !== "SIGKILL") fail("the ingest, before it could be killed,", first);
  const beforeKill = handledSoFar();
  console.log(`   killed after ${beforeKill.toLocaleString("en-US")} had been handled; the same command again …`);
  const second = await run(args);
  if (second.code !== 0) fail("the second ingest", second);
  const { document } = second;
  const { handled, again } = readLedgers();
  return {
    published: document.alreadyStored + document.published,
    acknowledged: document.alreadyStored + document.acknowledged,
    handled,
    again,
    lost: document.alreadyStored + document.acknowledged - handled,
    ack: document.ackMs,
    perSecond: document.published === 0 ? undefined : document.recordsPerSecond,
    note: `${document.alreadyStored.toLocaleString("en-US")} were stored before the kill`,
  };
}

async function crashCycle() {
  const [seconds, kills] = isShort ? [4, 2] : [10, 5];
  console.log(`2. ${seconds} s of load on another journal, killed ${kills} times at random moments …`);
  const { code, document, messages } = await run([
    "load",
    "crash",
    "--seconds",
    String(seconds),
    "--kills",
    String(kills),
    "--rate",
    "4000",
    "--quiet",
  ]);
  if (document === undefined || document.error !== undefined) fail("the crash cycle", { code, messages });
  return {
    published: document.published,
    acknowledged: document.acknowledged,
    handled: document.handled,
    again: document.duplicates,
    lost: document.lost + document.ghosts,
    ack: document.serviceMs,
    perSecond: document.acknowledgedPerSecond,
    note: `${kills} kills, back after ${Math.round(document.recoveryMs.median)} ms (median), ${Math.round(document.recoveryMs.max)} ms (max)`,
    code,
    messages,
  };
}

/** Of the second run: the kill came after the last publish. */
const NOTHING_LEFT = "all was stored before the kill";

function table(flights, crashes) {
  const number = (value) => Math.round(value).toLocaleString("en-US");
  const ms = (value) =>
    value === undefined ? NOTHING_LEFT : value < 1 ? `${Math.round(value * 1000)} µs` : `${value.toPrecision(3)} ms`;
  const rows = [
    ["", "flights, one kill", "crash cycle"],
    ["published", number(flights.published), number(crashes.published)],
    ["acknowledged", number(flights.acknowledged), number(crashes.acknowledged)],
    ["handled", number(flights.handled), number(crashes.handled)],
    ["handled twice (legal)", number(flights.again), number(crashes.again)],
    ["LOST", number(flights.lost), number(crashes.lost)],
    ["ack latency p50", ms(flights.ack?.p50), ms(crashes.ack?.p50)],
    ["ack latency p99", ms(flights.ack?.p99), ms(crashes.ack?.p99)],
    [
      "records per second",
      flights.perSecond === undefined ? NOTHING_LEFT : `${number(flights.perSecond)} (as fast as it goes)`,
      `${number(crashes.perSecond)} (4,000 offered)`,
    ],
    ["recovery", flights.note, crashes.note],
  ];
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map(([label, left, right]) => `  ${label.padEnd(widths[0])}  ${left.padEnd(widths[1])}  ${right}`.trimEnd())
    .join("\n");
}

const flights = await ingestFlights();
const crashes = await crashCycle();
console.log(`\n${table(flights, crashes)}\n`);
const lost = flights.lost + crashes.lost;
if (lost > 0) {
  console.log(`${lost} acknowledged records were lost.`);
  process.exitCode = 3;
} else if (crashes.code !== 0) {
  fail("the crash cycle", crashes);
} else {
  console.log(`Nothing that was acknowledged was lost.

Look at a service on its live page, which is at http://127.0.0.1:9090/ with the token that the
command prints:
  node packages/cli/bin/millrace.mjs serve --demo

Try next:
  node packages/cli/bin/millrace.mjs load crash --seconds 60 --kills 20 --rate 20000
  node packages/cli/bin/millrace.mjs load run --rate 10000 --slo 'p99<50ms'
  node packages/cli/bin/millrace.mjs --help
  README.md, for the library`);
}
