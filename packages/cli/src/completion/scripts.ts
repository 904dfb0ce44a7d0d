/**
 * `millrace completion SHELL`: a script that completes commands, options and choices. It holds the
 * words themselves, so that pressing the tab key starts no program.
 */
import type { Command } from "commander";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** The words that may follow a path of commands: "" is the program, "journal" a group. */
interface Place {
  readonly path: string;
  readonly words: readonly Word[];
}

interface Word {
  readonly text: string;
  readonly description: string;
  /** Values that an option takes; empty where it takes any, or none. */
  readonly choices: readonly string[];
}

function placesOf(command: Command, path: readonly string[] = []): Place[] {
  const commands = command.commands.map((sub) => ({
    text: sub.name(),
    description: sub.description(),
    choices: [],
  }));
  const options = command.createHelp().visibleOptions(command);
  const words = options.map(({ long, short, description, argChoices = [] }) => ({
    text: long ?? (short as string),
    description,
    choices: argChoices,
  }));
  const below = command.commands.flatMap((sub) => placesOf(sub, [...path, sub.name()]));
  return [{ path: path.join(" "), words: [...commands, ...words] }, ...below];
}

const texts = ({ words }: Place): string => words.map(({ text }) => text).join(" ");

/** Options with choices, each once: an option means the same everywhere. */
function choicesOf(places: readonly Place[]): Map<string, readonly string[]> {
  const all = places.flatMap(({ words }) => words).filter(({ choices }) => choices.length > 0);
  return new Map(all.map(({ text, choices }) => [text, choices]));
}

/** The path is what precedes the cursor, less options and what isn't a command. */
function shellScript(places: readonly Place[], begin: string, wordAt: string, reply: string, end: string): string {
  const paths = places.map((place) => `    "${place.path}") list="${texts(place)}" ;;`);
  const choices = [...choicesOf(places)].map(([option, values]) => `    ${option}) list="${values.join(" ")}" ;;`);
  const known = places.filter(({ path }) => path !== "").map(({ path }) => `"${path}"`);
  return `${begin}
  for word in ${wordAt}; do
    case "\${place:+$place }$word" in
      ${known.join("|")}) place="\${place:+$place }$word" ;;
    esac
  done
  case "$place" in
${paths.join("\n")}
  esac
  case "$previous" in
${choices.join("\n")}
  esac
  ${reply}
}
${end}
`;
}

function bash(places: readonly Place[]): string {
  return shellScript(
    places,
    `# millrace completion for bash:  source <(millrace completion bash)
_millrace() {
  local word list="" place="" current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"`,
    '"${COMP_WORDS[@]:1:COMP_CWORD-1}"',
    'COMPREPLY=($(compgen -W "$list" -- "$current"))',
    "complete -o default -F _millrace millrace",
  );
}

function zsh(places: readonly Place[]): string {
  return shellScript(
    places,
    `#compdef millrace
# millrace completion for zsh, after compinit:  source <(millrace completion zsh)
_millrace() {
  local word list="" place="" previous="\${words[CURRENT-1]}"
  local -a candidates`,
    '"${(@)words[2,CURRENT-1]}"',
    "candidates=(${=list})\n  compadd -a candidates || _files",
    "compdef _millrace millrace",
  );
}

const quoted = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;

function fish(places: readonly Place[]): string {
  const lines = places.flatMap(({ path, words }) => {
    const commands = path === "" ? [] : path.split(" ");
    const groups = places.find((place) => place.path === path)?.words.filter(({ text }) => !text.startsWith("-")) ?? [];
    const seen = commands.map((name) => `__fish_seen_subcommand_from ${name}`);
    const notYet =
      groups.length === 0 ? [] : [`not __fish_seen_subcommand_from ${groups.map(({ text }) => text).join(" ")}`];
    const condition = quoted([...seen, ...notYet].join("; and ") || "true");
    return words.map(({ text, description, choices }) => {
      const what = text.startsWith("--")
        ? `-l ${text.slice(2)}`
        : text.startsWith("-")
          ? `-s ${text.slice(1)}`
          : `-f -a ${text}`;
      const values = choices.length === 0 ? "" : ` -x -a ${quoted(choices.join(" "))}`;
      return `complete -c millrace -n ${condition} ${what}${values} -d ${quoted(description)}`;
    });
  });
  return `# millrace completion for fish:  millrace completion fish | source\n${lines.join("\n")}\n`;
}

/** The script for a shell, from the commands as they are. */
export function completionScript(program: Command, shell: Shell): string {
  const places = placesOf(program);
  return { bash, zsh, fish }[shell](places);
}
