// generate → transform on N worker threads → collect, over two channels.
//
//   node examples/pipeline/pipeline.mjs [numbers] [workers]
//
// A buffer between two stages evens out their speeds: a send waits only while the buffer is full
// (back-pressure). Its memory grows with the values in it, not with its capacity.
import { availableParallelism } from "node:os";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { Chan, watchThread } from "millrace";

const BUFFER = 10_000;

/** The work of the middle stage: the length of the Collatz sequence from `number` on. */
function transform(number) {
  let steps = 0;
  for (let value = number; value !== 1; value = value % 2 === 0 ? value / 2 : 3 * value + 1) steps += 1;
  return { number, steps };
}

async function main(count, workers) {
  const numbers = Chan.int32(BUFFER);
  const results = new Chan(BUFFER);
  const running = Array.from({ length: workers }, () => {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: { numbers: numbers.handle, results: results.handle },
    });
    // If this worker dies, its waits end, and the other workers continue.
    watchThread(worker);
    return new Promise((resolve) => worker.once("exit", resolve));
  });
  // The last worker to end closes the results, which ends the collector's loop.
  const ended = Promise.all(running).then(() => results.close());

  const generated = generate(numbers, count);
  const longest = await collect(results);
  await Promise.all([generated, ended]);
  for (const chan of [numbers, results]) chan.free();
  return longest;
}

async function generate(numbers, count) {
  for (let number = 1; number <= count; number += 1) {
    if (!numbers.trySend(number)) await numbers.sendAsync(number);
  }
  numbers.close();
}

async function collect(results) {
  let received = 0;
  let longest = { number: 0, steps: -1 };
  for await (const result of results) {
    received += 1;
    const isLonger = result.steps > longest.steps || (result.steps === longest.steps && result.number < longest.number);
    if (isLonger) longest = result;
  }
  return { received, ...longest };
}

if (isMainThread) {
  const [count = 10_000, workers = availableParallelism()] = process.argv.slice(2).map(Number);
  const { received, number, steps } = await main(count, workers);
  console.log(`${received} numbers; the longest sequence begins at ${number}: ${steps} steps`);
} else {
  const numbers = Chan.from(workerData.numbers);
  const results = Chan.from(workerData.results);
  for (const number of numbers) results.send(transform(number));
}
