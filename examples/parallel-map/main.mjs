import { open } from "millrace";

const mill = await open({ handlers: new URL("./handlers.mjs", import.meta.url) });
try {
  const numbers = Array.from({ length: Number(process.argv[2] ?? 50_000) }, (_, index) => index + 1);
  const all = await mill.parallelMap.steps(numbers);
  const total = all.reduce((sum, { count }) => sum + count, 0);
  const longest = await mill.parallelReduce.longer(numbers, { map: "steps" });
  console.log(`${all.length} sequences of ${total} steps; the longest begins at ${longest.number}: ${longest.count}`);
} finally {
  await mill.close();
}
