import { test } from "uvu";
import * as assert from "uvu/assert";
import { messageOf, MillraceError } from "@millrace/base";
import { background, Context, Scope, withCancel, withDeadline, withTimeout, withValue } from "@millrace/context";
import { throwsWith } from "../support.ts";

test("the background is never over, can't be cancelled, and goes along as a handle", () => {
  const context = background();
  assert.not(context.cancelled);
  assert.is(context.err, undefined);
  assert.is(context.cause, undefined);
  assert.is(context.deadline, undefined);
  assert.not(context.done.aborted);
  throwsWith(() => context.cancel(), "ERR_CONTEXT_BACKGROUND");
  throwsWith(() => context.wait({ timeoutMs: 0 }), "ERR_CONTEXT_BACKGROUND");
  const again = Context.from(structuredClone(withValue(context, "a", 1).handle));
  assert.not(again.cancelled);
  assert.is(again.value("a"), 1);
});

test("a cancelled context says so, and keeps its first reason", () => {
  const scope = withCancel(background());
  assert.not(scope.cancelled);
  scope.throwIfCancelled();
  const reason = new Error("enough");
  assert.ok(scope.cancel(reason));
  assert.not(scope.cancel(new Error("later")));
  assert.ok(scope.cancelled);
  assert.is(scope.err?.code, "ERR_CONTEXT_CANCELLED");
  assert.match(scope.err?.message ?? "", "enough");
  assert.is(scope.cause, reason);
  assert.is(scope.err, scope.err);
  throwsWith(() => scope.throwIfCancelled(), "ERR_CONTEXT_CANCELLED");
  scope.close();
  assert.is(scope.cause, reason, "closing changes nothing");
});

test("cancelling ends what is below and nothing beside or above", () => {
  const top = withCancel(background());
  const left = withCancel(top);
  const right = withCancel(top);
  const inner = withCancel(left);
  const leaves = [inner, withTimeout(withValue(left, "a", 1), 60_000), withCancel(inner)];
  left.cancel("left");
  for (const leaf of leaves) {
    assert.ok(leaf.cancelled);
    assert.is(leaf.err?.code, "ERR_CONTEXT_CANCELLED");
    assert.is((leaf.cause as Error).message, "left");
  }
  assert.not(top.cancelled);
  assert.not(right.cancelled);
  for (const scope of [...leaves, left, top]) scope.close();
  assert.is(right.err?.code, "ERR_CONTEXT_CLOSED");
  assert.is((left.cause as Error).message, "left");
  right.close();
});

test("a child of a context that is over is over at once, with the same reason", () => {
  const parent = withCancel(background());
  parent.cancel("over");
  const early = withCancel(parent);
  assert.ok(early.cancelled);
  assert.is((early.cause as Error).message, "over");
  parent.close();
  const late = withCancel(parent);
  assert.ok(late.cancelled);
  early.close();
  late.close();
});

test("signals of a thread abort, with the reason, before its call of cancel returns", () => {
  const parent = withCancel(background());
  const child = withCancel(parent);
  const signals = [parent.done, child.done, Context.from(structuredClone(child.handle)).done];
  assert.is(parent.done, signals[0]);
  for (const signal of signals) assert.not(signal?.aborted);
  const reason = new Error("enough");
  parent.cancel(reason);
  for (const signal of signals) assert.ok(signal?.aborted);
  assert.is(signals[0]?.reason, reason);
  assert.is(messageOf(signals[1]?.reason), "enough");
  const late = withCancel(child);
  assert.ok(late.done.aborted);
  late.close();
  child.close();
  parent.close();
});

test("a deadline ends a context for whoever looks, and the earlier of two counts", async () => {
  const long = withTimeout(background(), 60_000);
  const short = withTimeout(long, 5);
  const below = withTimeout(short, 60_000);
  assert.ok((below.deadline as Date) < (long.deadline as Date));
  assert.not(long.cancelled);
  await new Promise((resolve) => {
    below.done.addEventListener("abort", resolve);
    // The signal doesn't keep the process alive.
    setTimeout(resolve, 10_000).unref();
    const alive = setInterval(() => below.done.aborted && clearInterval(alive), 1);
  });
  for (const context of [short, below]) {
    assert.ok(context.cancelled);
    assert.is(context.err?.code, "ERR_CONTEXT_DEADLINE");
    assert.is(context.cause, context.err);
  }
  assert.not(long.cancelled);
  for (const scope of [below, short, long]) scope.close();
});

test("a deadline in the past is over at once; a date will do", () => {
  using past = withDeadline(background(), new Date(Date.now() - 1000));
  assert.is(past.err?.code, "ERR_CONTEXT_DEADLINE");
  using zero = withTimeout(background(), 0);
  assert.ok(zero.cancelled);
  using future = withDeadline(background(), new Date(Date.now() + 60_000));
  assert.not(future.cancelled);
  assert.ok(Math.abs((future.deadline as Date).getTime() - Date.now() - 60_000) < 1000);
});

test("a loop that never leaves its thread finds out that time is up", () => {
  using scope = withTimeout(background(), 3);
  let looks = 0;
  while (!scope.cancelled) looks += 1;
  assert.ok(looks > 0);
  assert.is(scope.err?.code, "ERR_CONTEXT_DEADLINE");
});

test("values are found from below, the newest first, and are frozen copies", () => {
  const user = { name: "Ada", roles: ["admin"] };
  const one = withValue(background(), "user", user);
  using scope = withCancel(withValue(one, "trace", new Map([["id", 7n]])));
  const two = withValue(scope, "user", null);
  user.name = "Bob";
  const seen = scope.value("user") as typeof user;
  assert.equal(seen, { name: "Ada", roles: ["admin"] });
  assert.is(scope.value("user"), seen);
  assert.throws(() => seen.roles.push("root"));
  assert.is(two.value("user"), null);
  assert.equal(two.value("trace"), new Map([["id", 7n]]));
  assert.is(two.value("toString"), undefined);
  throwsWith(() => withValue(scope, "f", () => {}), "ERR_VALUE_UNSUPPORTED");
});

test("reasons travel whole while they fit, and say what was left out when they don't", () => {
  const seenBy = (reason: Error): Error & { code?: string; details?: unknown } => {
    using scope = withCancel(background());
    const other = Context.from(scope.handle);
    scope.cancel(reason);
    return other.cause as Error;
  };
  const ours = seenBy(new MillraceError("ERR_LOCK_HELD", "held", "let go", { details: { by: 3 } }));
  assert.instance(ours, MillraceError);
  assert.is(ours.code, "ERR_LOCK_HELD");
  assert.equal(ours.details, { by: 3 });
  assert.is(seenBy(new RangeError("far")).name, "RangeError");
  assert.is(seenBy(Object.assign(new Error("no file"), { code: "ENOENT" })).code, "ENOENT");
  const long = seenBy(new Error(`${"x".repeat(300)}${"é€".repeat(1000)}`));
  assert.match(long.message, /^x{300}.*… \(2300 characters\)$/);
  const details = seenBy(new MillraceError("ERR_LOCK_HELD", "held", "", { details: { bytes: "y".repeat(2000) } }));
  assert.is(details.message, "held (its details were left out)");
  const odd = seenBy(new MillraceError("ERR_LOCK_HELD", "held", "", { details: { run: () => 1 } }));
  assert.is(odd.message, "held (its details were left out)");
});

test("closed contexts give their memory back, with everything that hung on them", () => {
  // Far more than there is room for at once, with children, signals and reasons.
  for (let round = 0; round < 30_000; round += 1) {
    const parent = withCancel(background());
    const child = withCancel(parent);
    if (round % 3 === 0) void child.done;
    if (round % 2 === 0) parent.cancel("done");
    if (round % 5 === 0) parent.close();
    child.close();
    parent.close();
    parent.close();
  }
  // And those below one that stays, beside others that stay.
  const parent = withCancel(background());
  const others = Array.from({ length: 100 }, () => withCancel(parent));
  for (let round = 0; round < 70_000; round += 1) withCancel(parent).close();
  for (const scope of [...others, parent]) scope.close();
});

test("when all places are taken that is said, and closing one makes room", () => {
  const scopes: Scope[] = [];
  const error = throwsWith(() => {
    for (;;) scopes.push(withCancel(background()));
  }, "ERR_SYNC_SPACE_FULL");
  assert.match(error.message, "8192");
  scopes.pop()?.close();
  withCancel(background()).close();
  for (const scope of scopes) scope.close();
});

test("a parent ends all its children, and children may be closed in any order", () => {
  const parent = withCancel(background());
  const children = Array.from({ length: 3000 }, () => withCancel(parent));
  for (let index = 0; index < children.length; index += 3) children[index]?.close();
  parent.cancel("all");
  for (const child of children) assert.ok(child.cancelled);
  assert.is(messageOf(children[1]?.cause), "all");
  for (const child of children.toReversed()) child.close();
  parent.close();
});

test("a deep chain ends to its last link", () => {
  const chain: Scope[] = [withCancel(background())];
  for (let depth = 0; depth < 2000; depth += 1) chain.push(withCancel(chain.at(-1) as Scope));
  chain[0]?.cancel("deep");
  assert.is(messageOf(chain.at(-1)?.cause), "deep");
  for (const scope of chain) scope.close();
});

test("what isn't a handle of a context is refused; a context that was closed is over", () => {
  throwsWith(() => Context.from(undefined as never), "ERR_SYNC_HANDLE");
  const scope = withCancel(background());
  throwsWith(() => Context.from({ ...scope.handle, type: "Mutex" }), "ERR_SYNC_HANDLE");
  throwsWith(() => Context.from({ ...scope.handle, space: 1 }), "ERR_SYNC_HANDLE");
  const { handle } = scope;
  scope.close();
  const late = Context.from(handle);
  assert.ok(late.cancelled);
  assert.is(late.err?.code, "ERR_CONTEXT_CLOSED");
  // Others in its place are none of its business.
  const others = Array.from({ length: 8192 - 1 }, () => withCancel(background()));
  assert.ok(Context.from(handle).cancelled);
  assert.not(Context.from(handle).cancel());
  for (const other of others) {
    assert.not(other.cancelled);
    other.close();
  }
});

test("a context tells the same under the names of a handler's context", () => {
  const scope = withTimeout(background(), 60_000);
  assert.is(scope.signal, scope.done);
  assert.is(scope.isCancelled, false);
  assert.ok(Math.abs((scope.deadlineMs as number) - (scope.deadline as Date).getTime()) < 1000);
  scope.cancel();
  assert.is(scope.isCancelled, scope.cancelled);
  assert.ok(scope.isCancelled);
  assert.is(background().deadlineMs, undefined);
});

test.run();
