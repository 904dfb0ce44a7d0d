/** Paths into what is compared, such as `result.items[0].id`, and patterns of them. */
import { baseError } from "@millrace/base";

export type Path = readonly (string | number)[];

/** The beginnings of a path. */
const ROOTS: readonly string[] = ["result", "error", "published"];
const ANY = "*";
const STEP = /\.?([^.[\]"]+)|\[(\d+|\*)\]|\["((?:[^"\\]|\\.)*)"\]/y;

type Pattern = readonly (string | number)[];

/** Throws `ERR_INVALID_OPTION`. */
export class IgnoredPaths {
  readonly #patterns: readonly Pattern[];

  constructor(owner: string, paths: readonly string[]) {
    this.#patterns = paths.map((path) => patternOf(owner, path));
  }

  has(path: Path): boolean {
    return this.#patterns.some(
      (pattern) =>
        pattern.length === path.length && pattern.every((step, index) => step === ANY || step === path[index]),
    );
  }
}

function patternOf(owner: string, text: string): Pattern {
  const steps: (string | number)[] = [];
  STEP.lastIndex = 0;
  // Ends: every step takes a letter at least.
  while (STEP.lastIndex < text.length) {
    const found = STEP.exec(text);
    if (found === null) throw refused(owner, text);
    const [, name, index, quoted] = found;
    if (name !== undefined) steps.push(name);
    else if (quoted !== undefined) steps.push(JSON.parse(`"${quoted}"`) as string);
    else steps.push(index === ANY ? ANY : Number(index));
  }
  if (!ROOTS.includes(String(steps[0]))) throw refused(owner, text);
  return steps;
}

function refused(owner: string, path: string): Error {
  const allowed = `a path that begins with ${ROOTS.join(", ")}, such as result.items[*].id`;
  return baseError("ERR_INVALID_OPTION", `${owner}: "ignore" has "${path}", which isn't ${allowed}`, {
    details: { owner, name: "ignore", value: path, allowed },
  });
}

export function pathText(path: Path): string {
  let text = "";
  for (const step of path) {
    if (typeof step === "number") text += `[${step}]`;
    else if (/^[^.[\]"*]+$/.test(step)) text += text === "" ? step : `.${step}`;
    else text += `[${JSON.stringify(step)}]`;
  }
  return text;
}
