/** The scenario files, compiled. */
import { readdirSync } from "node:fs";

const folder = new URL("./scenarios/", import.meta.url);

/** Those whose name contains one of the words; all without words. */
export function scenarioFiles(words: readonly string[] = []): { name: string; url: string }[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".js"))
    .map((file) => ({ name: file.slice(0, -3), url: new URL(file, folder).href }))
    .filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)))
    .toSorted((a, b) => a.name.localeCompare(b.name));
}
