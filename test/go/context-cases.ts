import { once } from "node:events";
import {
  background,
  type Context,
  type Scope,
  withCancel,
  withDeadline,
  withTimeout,
  withValue,
} from "@millrace/context";
import type { ContextEnd, ContextResult } from "../fixtures/context-ends.ts";
import { runThreads } from "../fixtures/threads.ts";
import { until } from "../support.ts";
import type { Cases, Differences } from "./cases.ts";

function why(context: Context): string {
  const code = context.err?.code ?? "none";
  return code.replace("ERR_CONTEXT_", "").toLowerCase();
}

function isDone(context: Context): string {
  return context.done.aborted ? "done" : "not done";
}

const root = background();
const HOUR_MS = 3_600_000;

/** Gives the case scopes that are closed after it. */
function scoped(
  run: (keep: (scope: Scope) => Scope) => readonly unknown[] | Promise<readonly unknown[]>,
): Cases[string] {
  return async () => {
    const scopes: Scope[] = [];
    const outcome = await run((scope) => {
      scopes.push(scope);
      return scope;
    });
    for (const scope of scopes.toReversed()) scope.close();
    return outcome;
  };
}

export const contextCases: Cases = {
  "context: the background is never over": () => [
    why(root),
    isDone(root),
    root.deadline !== undefined,
    root.value("a") !== undefined,
  ],

  "context: cancelling, once and again": scoped((keep) => {
    const scope = keep(withCancel(root));
    const before = [why(scope), isDone(scope)];
    scope.cancel();
    scope.cancel();
    return [...before, why(scope), isDone(scope)];
  }),

  "context: a parent takes its children along, a child nobody": scoped((keep) => {
    const top = keep(withCancel(root));
    const left = keep(withCancel(top));
    const right = keep(withCancel(top));
    const leaf = keep(withCancel(left));
    left.cancel();
    const first = [why(top), why(left), why(right), why(leaf)];
    top.cancel();
    return [...first, why(top), why(right)];
  }),

  "context: a child of one that is over is over at once": scoped((keep) => {
    const parent = keep(withCancel(root));
    parent.cancel();
    const child = keep(withCancel(parent));
    return [why(child), isDone(child), why(keep(withTimeout(parent, HOUR_MS)))];
  }),

  "context: whoever waits for a child in another goroutine is woken": scoped(async (keep) => {
    const parent = keep(withCancel(root));
    const child = keep(withCancel(withValue(parent, "a", 1)));
    const words = new Int32Array(new SharedArrayBuffer(4));
    const end: ContextEnd = { handle: child.handle, role: "waits", words };
    const woken = runThreads<ContextResult>("context-ends", [end]);
    await until(() => words[0] === 1, "the thread waits");
    parent.cancel();
    const [result] = await woken;
    return [result?.code?.replace("ERR_CONTEXT_", "").toLowerCase()];
  }),

  "context: no time left at all, or less": scoped((keep) => {
    const zero = keep(withTimeout(root, 0));
    const past = keep(withDeadline(root, new Date(Date.now() - HOUR_MS)));
    return [why(zero), why(past), isDone(past)];
  }),

  "context: a deadline that passes": scoped(async (keep) => {
    const scope = keep(withTimeout(root, 2));
    const child = keep(withCancel(scope));
    const alive = setInterval(() => {}, 1000);
    if (!child.done.aborted) await once(child.done, "abort");
    clearInterval(alive);
    scope.cancel();
    return [why(scope), why(child)];
  }),

  "context: cancelled before the deadline": scoped((keep) => {
    const scope = keep(withTimeout(root, HOUR_MS));
    scope.cancel();
    return [why(scope)];
  }),

  "context: the earlier of two deadlines counts": scoped((keep) => {
    const short = keep(withTimeout(root, HOUR_MS));
    const below = keep(withTimeout(short, 2 * HOUR_MS));
    const shorter = keep(withTimeout(short, 60_000));
    const at = (scope: Scope): number => (scope.deadline as Date).getTime();
    return [Math.abs(at(short) - at(below)) < 60_000, at(shorter) < at(short)];
  }),

  "context: a child inherits its parent's deadline": scoped((keep) => {
    const parent = keep(withTimeout(root, HOUR_MS));
    const child = keep(withCancel(parent));
    return [child.deadline !== undefined, withValue(child, "a", 1).deadline !== undefined];
  }),

  "context: values are found from below, the newest first": () => {
    const one = withValue(root, "a", "one");
    const two = withValue(withValue(one, "b", "b"), "a", "two");
    return [one.value("a"), two.value("a"), two.value("b"), one.value("b") !== undefined];
  },

  "context: cancelling what a value was added to": scoped((keep) => {
    const parent = keep(withCancel(root));
    const withOne = withValue(parent, "a", 1);
    parent.cancel();
    return [why(withOne), withOne.value("a")];
  }),

  "context: there is one done per context": scoped((keep) => {
    const scope = keep(withCancel(root));
    const before = scope.done;
    scope.cancel();
    return [before === scope.done];
  }),
};

export const contextDifferences: Differences = {};
