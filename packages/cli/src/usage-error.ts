/**
 * Errors of a command line, in the form that all other errors have. Commander has a form of its own
 * for them.
 */
import type { Command, CommanderError } from "commander";
import { nearest } from "@millrace/base";
import { cliError } from "./errors.ts";

/** A command line up to the command that it names. */
export interface NamedCommand {
  readonly command: Command;
  /** As a user types it: `millrace journal verify`. */
  readonly path: string;
  /** The words behind it. */
  readonly rest: readonly string[];
}

/** The command that a command line names, as far as its words are known. */
export function namedCommand(program: Command, argv: readonly string[]): NamedCommand {
  let command = program;
  let path = program.name();
  let at = 0;
  for (const word of argv) {
    const below = command.commands.find((each) => each.name() === word);
    if (below === undefined) break;
    command = below;
    path = `${path} ${word}`;
    at += 1;
  }
  return { command, path, rest: argv.slice(at) };
}

/**
 * Commander says nothing about `help` for a command that isn't there. Throws `ERR_CLI_USAGE`.
 */
export function checkHelp({ command, rest }: NamedCommand): void {
  const [help, asked] = rest;
  const names = namesOf(command);
  if (help !== "help" || asked === undefined || asked.startsWith("-") || [...names, "help"].includes(asked)) return;
  throw cliError("ERR_CLI_USAGE", unknownCommand(command, asked));
}

/**
 * An empty value is a variable of a script that isn't set: no option and no argument takes one.
 * What a program to run is given is its own affair. Throws `ERR_CLI_USAGE`.
 */
export function refuseEmpty(command: Command): void {
  for (const option of command.options) {
    const name = option.attributeName();
    if (!hasEmpty(command.getOptionValue(name))) continue;
    const isOfEnvironment = command.getOptionValueSource(name) === "env";
    throw emptyError((isOfEnvironment ? option.envVar : option.long) ?? name);
  }
  for (const [index, argument] of command.registeredArguments.entries()) {
    const value: unknown = command.processedArgs[index];
    const isProgram = argument.name() === "program" && Array.isArray(value);
    if (hasEmpty(isProgram ? value[0] : value)) throw emptyError(`<${argument.name()}>`);
  }
}

const hasEmpty = (value: unknown): boolean => value === "" || (Array.isArray(value) && value.includes(""));
const emptyError = (name: string): Error => cliError("ERR_CLI_USAGE", `${name} must not be empty`);

/** Commander's error as one of ours, with the same meaning. */
export function usageError({ code, message }: CommanderError, named: NamedCommand): Error {
  return cliError("ERR_CLI_USAGE", textOf(code, message.replace(/^error: /, "").replaceAll("\n", " "), named));
}

function textOf(code: string, message: string, { command, path, rest }: NamedCommand): string {
  const quoted = /'([^']*)'/.exec(message)?.[1] ?? "";
  switch (code) {
    case "commander.unknownOption":
      // Some commands take by its place what others take by an option.
      return argumentNames(command).includes(quoted.slice(2))
        ? `<${quoted.slice(2)}> is no option: ${path} ${argumentsOf(command)}`
        : unknownOption(command, quoted);
    case "commander.missingMandatoryOptionValue": {
      // A required option with a typing mistake is missing, and unknown as well: that is the cause.
      const unknown = rest.find((word) => /^--?[a-z]/i.test(word) && !isKnown(command, word));
      if (unknown !== undefined) return unknownOption(command, unknown.replace(/=.*/, ""));
      return `${quoted} is required${directoryHint(command, quoted, rest)}`;
    }
    case "commander.optionMissingArgument":
      return `${quoted} needs a value`;
    case "commander.missingArgument":
      return `<${quoted}> is required: ${path} ${argumentsOf(command)}`;
    case "commander.unknownCommand":
      return unknownCommand(command, quoted);
    case "commander.excessArguments":
      return excess(command, path);
    case "commander.invalidArgument":
      return invalidChoice(message);
    default:
      return message;
  }
}

const namesOf = (command: Command): string[] => command.commands.map((each) => each.name());
const flagsOf = (command: Command): string[] => [...command.options.flatMap(({ long }) => long ?? []), "--help"];
const isKnown = (command: Command, word: string): boolean =>
  word === "-h" || word === "--" || flagsOf(command).includes(word.replace(/=.*/, ""));

const argumentNames = (command: Command): string[] => command.registeredArguments.map((each) => each.name());
const argumentsOf = (command: Command): string =>
  command.registeredArguments.map((each) => (each.required ? `<${each.name()}>` : `[${each.name()}]`)).join(" ");

function unknownCommand(command: Command, word: string): string {
  return `unknown command ${JSON.stringify(word)}${suggestion(word, namesOf(command))}`;
}

function unknownOption(command: Command, flag: string): string {
  return `unknown option ${flag}${suggestion(flag, flagsOf(command))}`;
}

function suggestion(word: string, known: readonly string[]): string {
  const like = nearest(word, known);
  return like === undefined ? "" : `; did you mean ${like}?`;
}

/** Commands that take a directory by an option are given it without one. */
function directoryHint(command: Command, option: string, rest: readonly string[]): string {
  const word = rest.find((each) => !each.startsWith("-"));
  const isMeant = option.startsWith("--dir ") && argumentNames(command).length === 0 && word !== undefined;
  return isMeant ? `; did you mean --dir ${word}?` : "";
}

function excess(command: Command, path: string): string {
  const expected = argumentsOf(command);
  return expected === ""
    ? `${path} takes no argument, but got ${JSON.stringify(command.args[0])}`
    : `too many arguments: ${path} ${expected}`;
}

/**
 * `option '--format <format>' argument 'xml' is invalid. Allowed choices are json, csv.`, or
 * `command-argument value 'tcsh' is invalid for argument 'shell'. Allowed choices are bash, zsh.`
 */
function invalidChoice(message: string): string {
  const option = /^option '(\S+)[^']*' argument '([^']*)' is invalid\. Allowed choices are (.+)\.$/.exec(message);
  const argument = /value '([^']*)' is invalid for argument '([^']*)'\. Allowed choices are (.+)\.$/.exec(message);
  const [name, value, choices] =
    option !== null
      ? [option[1], option[2], option[3]]
      : argument !== null
        ? [`<${argument[2]}>`, argument[1], argument[3]]
        : [undefined, undefined, undefined];
  if (name === undefined) return message;
  return `${name} must be ${choices?.replace(/, ([^,]+)$/, " or $1")}, not ${JSON.stringify(value)}`;
}
