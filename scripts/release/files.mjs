// Which compiled files a package publishes: what its entries reach, and nothing else. Fakes,
// fixtures and models stay at home because no entry leads to them.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Imports, and files that a module names: thread entries and modules for other threads. */
const REFERENCES = [
  /\bfrom\s+"(\.[^"]+)"/g,
  /\bimport\s*\(\s*"(\.[^"]+)"\s*\)/g,
  /^import\s+"(\.[^"]+)"/gm,
  /\bnew URL\(\s*"(\.[^"]+\.js)"/g,
  /\brequire\("(\.[^"]+)"\)/g,
];
const THREAD_ENTRIES = /\bworkerUrl\(\s*"(\.[^"]+)"/g;
/** A thread's entry in a CommonJS package. */
const FILES_BESIDE = /\bjoin\)?\(__dirname, "([^"]+\.js)"/g;

/** Examples in comments import files that only users have. */
const withoutComments = (text) => text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");

function referencesOf(file, commented) {
  const text = withoutComments(commented);
  const found = REFERENCES.flatMap((pattern) => [...text.matchAll(pattern)].map(([, path]) => path));
  const entries = [...text.matchAll(THREAD_ENTRIES)].map(([, path]) => `${path}.js`);
  const beside = [...text.matchAll(FILES_BESIDE)].map(([, path]) => path);
  return [...found, ...entries, ...beside].map((path) => join(dirname(file), path));
}

/** The files that `entries` reach, each with its text; `.ts` in a declaration is `.d.ts`. */
export function reached(directory, entries) {
  const texts = new Map();
  const waiting = [...entries];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (texts.has(file)) continue;
    const text = readFileSync(join(directory, file), "utf8");
    texts.set(file, text);
    const isTypes = /\.d\.m?ts$/.test(file);
    for (const path of referencesOf(file, text))
      waiting.push(isTypes ? path.replace(/(\.d)?\.(m?)(ts|js)$/, ".d.$2ts") : path);
  }
  return texts;
}

/** Maps stay at home, since the sources do. */
export const withoutMap = (text) => text.replace(/^\/\/# sourceMappingURL=.*\n?/m, "");

/** The endings of relative imports: the compiler leaves `.ts` in declarations. */
export const withEnding = (text, ending) =>
  text.replace(/^(?!\s*(?:\/\*)?\*).*$/gm, (line) =>
    line.replace(/((?:from|import\()\s*"\.[^"]+?)\.(?:ts|js)"/g, `$1${ending}"`),
  );

/** Typed arrays have had a type parameter since TypeScript 5.7; older compilers refuse one. */
export const withoutBufferTypes = (text) =>
  text.replace(/\b((?:Big)?(?:Uint|Int|Float)\d+(?:Clamped)?Array|DataView)<(?:Shared)?ArrayBuffer(?:Like)?>/g, "$1");
