/** `millrace doctor`: what to expect of this machine, and what is unsafe here. */
import { EXIT } from "../terminal/exit-codes.ts";
import { Reporter, type ReporterOptions } from "../terminal/reporter.ts";
import { diskFindings } from "./disk.ts";
import { readSystemFile, systemFindings } from "./system.ts";

const MARKS = { ok: "ok     ", warning: "warning", unsafe: "UNSAFE " } as const;

/** Exit code 1 when something is unsafe. Leaves nothing behind in the directory. */
export async function doctor(directory: string, options: ReporterOptions): Promise<number> {
  const reporter = new Reporter(options);
  reporter.progress(() => "measuring for some seconds …");
  const findings = [...systemFindings(readSystemFile), ...(await diskFindings(directory))];
  const isSafe = findings.every(({ status }) => status !== "unsafe");
  const warnings = findings.filter(({ status }) => status === "warning").length;
  const width = Math.max(...findings.map(({ name }) => name.length));
  reporter.result({ directory, isSafe, warnings, findings }, () =>
    findings.map(({ name, status, text }) => `${MARKS[status]}  ${name.padEnd(width)}  ${text}`).join("\n"),
  );
  return isSafe ? EXIT.ok : EXIT.failure;
}
