/** The findings of `millrace doctor`: one line for each thing that it looked at. */
export interface Finding {
  readonly name: string;
  /**
   * "unsafe": records may be lost, or nothing runs here. "warning": it works, worse than it could.
   */
  readonly status: "ok" | "warning" | "unsafe";
  readonly text: string;
  readonly data: Readonly<Record<string, number | string | boolean | undefined>>;
}

export function finding(name: string, status: Finding["status"], text: string, data: Finding["data"] = {}): Finding {
  return { name, status, text, data };
}
