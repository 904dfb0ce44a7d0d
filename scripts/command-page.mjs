// Writes docs/command.md from the command's own description; test/workspace/docs.test.ts holds the
// page to it.
import { buildProgram } from "../packages/cli/dist/program.js";
import { filled, writePage } from "./generated-page.mjs";

const program = buildProgram(() => {});

const cell = (text) => text.replaceAll("|", "\\|").replaceAll("<", "\\<");

const COMMON = new Set(["--json", "--quiet", "--verbose", "--help", "--version"]);

const IN_TEXT = / ?\(default: ([^)]+)\)/;

/** The default as people read it, the same on every machine; "" where there is none. */
function defaultOf({ defaultValue, defaultValueDescription, description, long }) {
  const said = IN_TEXT.exec(description)?.[1];
  if (said !== undefined) return said;
  if (long === "--processors") return "one per core";
  if (defaultValueDescription !== undefined) return defaultValueDescription;
  return defaultValue === undefined || typeof defaultValue === "boolean" ? "" : String(defaultValue);
}

function optionRow(option) {
  const { flags, description, mandatory, envVar, argChoices } = option;
  const about = [/ ?\(required\)/, / ?\(env: \w+\)/, IN_TEXT].reduce(
    (text, part) => text.replace(part, ""),
    description,
  );
  const choices = argChoices === undefined ? "" : `: ${argChoices.map((choice) => `\`${choice}\``).join(", ")}`;
  const environment = envVar === undefined ? "" : ` (environment: \`${envVar}\`)`;
  const value = mandatory || /\(required\)/.test(description) ? "required" : cell(defaultOf(option));
  return `| \`${flags.replaceAll("|", "\\|")}\` | ${value} | ${cell(about)}${choices}${environment} |`;
}

function section(command, path) {
  const args = command.registeredArguments;
  const names = args.map((each) => {
    const name = each.variadic ? `${each.name()}...` : each.name();
    return each.required ? `<${name}>` : `[${name}]`;
  });
  const usage = [...path, ...names].join(" ");
  const options = command.options.filter(({ long, hidden }) => !hidden && !COMMON.has(long));
  const table = options.length === 0 ? [] : ["| option | default | |", "|---|---|---|", ...options.map(optionRow), ""];
  const text = filled(`${command.description().replace(/^./, (first) => first.toUpperCase())}.`);
  const about = args.filter(({ description }) => description !== "");
  const list =
    about.length === 0 ? [] : [...about.map((each) => filled(`- \`${each.name()}\`: ${each.description}`)), ""];
  return [
    `## ${path.join(" ")}`,
    "",
    `    ${usage}${options.length === 0 ? "" : " [options]"}`,
    "",
    text,
    "",
    ...list,
    ...table,
  ];
}

function leaves(command, path) {
  const below = command.commands.filter((each) => each.name() !== "help");
  if (below.length === 0) return [section(command, path)];
  return below.flatMap((each) => leaves(each, [...path, each.name()]));
}

export function commandPage() {
  return `# The command

\`npx millrace COMMAND --help\` prints examples too. This page is made from the command's own
description by \`node scripts/command-page.mjs\`.

| option of every command | |
|---|---|
| \`--json\` | one JSON document on stdout, also for errors; messages go to stderr |
| \`--quiet\` | no progress |
| \`--verbose\` | stack traces, and the output of child processes |
| \`--help\`, \`--version\` | |

The command prints no colours, so \`NO_COLOR\` has nothing to switch off. Without a terminal it
redraws no line. A reader that ends early (\`| head\`) ends it quietly. If stdout can't be written, as
on a full disk, it says so and exits with 1; \`serve\` goes on. A stdout that is closed (\`>&-\`) is one
that nobody reads: Node opens the null device in its place. No option takes an empty value.

| exit code | |
|---|---|
| 0 | ok |
| 1 | failure |
| 2 | usage: an option or a word that isn't known |
| 3 | acknowledged data is lost, or a journal is damaged |
| 4 | a target was missed |
| 5 | the run isn't valid |
| 129, 130, 143 | SIGHUP, SIGINT, SIGTERM; 0 of \`serve\` and \`journal tail --follow\`, which end so |

${leaves(program, ["millrace"]).flat().join("\n").trimEnd()}
`;
}

writePage(import.meta, "command.md", commandPage);
