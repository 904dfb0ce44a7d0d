// Kills the service in the middle, starts it again, and compares the books with what was paid.
import { fork } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const clients = fileURLToPath(new URL("./clients.mjs", import.meta.url));
for (const left of ["./data", "./books.ndjson"]) rmSync(left, { recursive: true, force: true });

/** Runs the clients to their end, or kills them when the first account is half done. */
function run({ kill }) {
  return new Promise((resolve, reject) => {
    const child = fork(clients);
    let report;
    child.on("message", (message) => {
      if (typeof message === "object") report = message;
      else if (kill) child.kill("SIGKILL");
    });
    child.on("exit", (code, signal) => {
      if (kill ? signal === "SIGKILL" : code === 0) resolve(report);
      else reject(new Error(`the service ended with ${code ?? signal}`));
    });
  });
}

await run({ kill: true });
console.log("killed in the middle");
const { dead } = await run({ kill: false });

const lines = readFileSync("./books.ndjson", "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line));
for (const account of ["A-1", "A-2", "A-3"]) {
  const amounts = lines.filter((line) => line.account === account).map(({ amount }) => amount);
  const isInOrder = amounts.every((amount, index) => index === 0 || amount > amounts[index - 1]);
  console.log(`${account}: ${amounts.length} payments, ${isInOrder ? "in order, each once" : "OUT OF ORDER"}`);
}
console.log(`refused: ${dead.join(" ")}`);
