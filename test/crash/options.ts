// How long the crash tests run, and their seed.

/** `npm run test:crash`: hours of what `npm test` does in a minute. */
export const isLong: boolean = process.env.MILLRACE_CRASH_LONG === "1";

/** Any other would do: `npm test` shows the same each time. */
const SEED = 20_260_713;

/**
 * The same seed for every short run, a new one for every long run, or the one in MILLRACE_SEED.
 * Prints it, so that a failure can be repeated.
 */
export function printedSeed(): number {
  const seed = Number(process.env.MILLRACE_SEED ?? (isLong ? Date.now() % 1_000_000 : SEED));
  console.log(`# seed ${seed}`);
  return seed;
}
