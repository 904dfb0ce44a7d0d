// Writes docs/errors.md from the tables in the code; test/workspace/docs.test.ts holds the page to
// them.
import { baseErrors } from "@millrace/base";
import { channelErrors } from "@millrace/channels";
import { cliErrors } from "@millrace/cli";
import { codecErrors } from "@millrace/codec";
import { contextErrors } from "@millrace/context";
import { intakeErrors } from "@millrace/intake";
import { journalErrors } from "@millrace/journal";
import { poolErrors } from "@millrace/pool";
import { schedulerErrors } from "@millrace/scheduler";
import { serverErrors } from "@millrace/server";
import { syncErrors } from "@millrace/atomics-sync";
import { filled, writePage } from "./generated-page.mjs";

const tables = [
  ["All packages", baseErrors],
  ["Values", codecErrors],
  ["Threads", syncErrors],
  ["Channels", channelErrors],
  ["Contexts", contextErrors],
  ["Calls", schedulerErrors],
  ["Blocking calls and pools", poolErrors],
  ["Journal", journalErrors],
  ["Records", intakeErrors],
  ["Server", serverErrors],
  ["Command", cliErrors],
];

export function errorsPage() {
  const sections = tables.map(([title, table]) => {
    const entries = Object.entries(table)
      .toSorted(([left], [right]) => (left < right ? -1 : 1))
      .map(([code, { cause, cure }]) => `### ${code}\n\n${filled(cause)}\n\n${filled(`*What to do:* ${cure}`)}\n`);
    return `## ${title}\n\n${entries.join("\n")}`;
  });
  return `# Errors

Every error of Millrace has a \`code\`. Match on the code: the texts may change. \`details\` has the
values that matter, \`cause\` is the error behind it, and \`cure\` says what to do.
\`isMillraceError(error, code)\` also recognises errors of another copy of the package.
\`node scripts/errors-page.mjs\` makes this page from the tables in the code.

${sections.join("\n")}`;
}

writePage(import.meta, "errors.md", errorsPage);
