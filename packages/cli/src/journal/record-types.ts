/** The types of records by name. */
import { RECORD_TYPE } from "@millrace/journal";

const NAMES = new Map<number, string>(Object.entries(RECORD_TYPE).map(([name, type]) => [type, name]));

/**
 * The name of a record's type, such as "data"; undefined for a type that Millrace doesn't define.
 */
export function typeName(type: number): string | undefined {
  return NAMES.get(type);
}
