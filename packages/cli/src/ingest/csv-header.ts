/** The header line of CSV: its delimiter and its names. */

const CANDIDATES = [",", ";", "\t", "|"] as const;

export interface CsvHeader {
  readonly delimiter: string;
  readonly names: readonly string[];
}

/** `delimiter` undefined: found out. Throws a `RangeError` that says what is wrong. */
export function readHeader(line: string, delimiter: string | undefined): CsvHeader {
  const known = delimiter ?? delimiterOf(line);
  const names = fieldsOf(line, known);
  const seen = new Map<string, number>();
  for (const [index, name] of names.entries()) {
    const column = index + 1;
    if (name.trim() === "") throw new RangeError(`column ${column} of the header has no name`);
    const other = seen.get(name);
    if (other !== undefined)
      throw new RangeError(`columns ${other} and ${column} of the header have the name "${name}"`);
    seen.set(name, column);
  }
  return { delimiter: known, names };
}

/** The candidate that is most frequent outside of quotes. */
function delimiterOf(line: string): string {
  const outside = line.replaceAll(/"[^"]*"/g, "");
  const counts = CANDIDATES.map((each) => [each, outside.split(each).length - 1] as const);
  const most = Math.max(...counts.map(([, count]) => count));
  const best = counts.filter(([, count]) => count === most).map(([each]) => each);
  if (most > 0 && best.length > 1) {
    const shown = best.map((each) => JSON.stringify(each)).join(" and ");
    throw new RangeError(`the header has ${shown} equally often: --delimiter says which one divides it`);
  }
  // One column needs none.
  return most === 0 ? "," : (best[0] as string);
}

function fieldsOf(line: string, delimiter: string): string[] {
  const fields: string[] = [];
  let at = 0;
  // Ends: each turn reads a field, up to the end of the line.
  for (;;) {
    let field: string;
    if (line[at] === '"') {
      const quoted = /"((?:[^"]|"")*)"/y;
      quoted.lastIndex = at;
      const found = quoted.exec(line);
      if (found === null) throw new RangeError("a quote in the header is never closed");
      field = (found[1] as string).replaceAll('""', '"');
      at = quoted.lastIndex;
    } else {
      const end = line.indexOf(delimiter, at);
      field = line.slice(at, end < 0 ? line.length : end);
      if (/["\r\0]/.test(field)) {
        throw new RangeError(
          field.includes('"')
            ? "a quote within a name of the header that doesn't begin with one"
            : "the header has a NUL byte, or a carriage return without a line feed",
        );
      }
      at += field.length;
    }
    fields.push(field);
    if (at >= line.length) return fields;
    if (line[at] !== delimiter) throw new RangeError("something follows a closing quote in the header");
    at += 1;
  }
}
