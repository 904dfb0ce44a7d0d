import { test } from "uvu";
import * as assert from "uvu/assert";
import { seededRandom } from "@millrace/base";
import { checkLinearizable, type Operation } from "./linearizability.ts";
import { CLOSED, EMPTY, FULL, permits, queue, type QueueInput, type RegisterInput, registers, SENT } from "./models.ts";

/**
 * `line` shows when the operation was under way: from its first to its last column, `>` for one
 * that never returned.
 */
function drawn<Input, Output>(line: string, input: Input, output?: Output): Operation<Input, Output> {
  const calledAt = line.search(/\S/);
  const isOpen = line.endsWith(">");
  return { thread: 0, input, output, calledAt, returnedAt: isOpen ? Infinity : line.length - 0.5 };
}

const write = (value: number, register = 0): RegisterInput => ({ register, does: "write", value });
const read: RegisterInput = { register: 0, does: "read", value: 0 };
const add: RegisterInput = { register: 0, does: "add", value: 1 };
const send = (item: number): QueueInput => ({ does: "send", item });
const trySend = (item: number): QueueInput => ({ does: "trySend", item });
const receive: QueueInput = { does: "receive", item: 0 };
const tryReceive: QueueInput = { does: "tryReceive", item: 0 };
const close: QueueInput = { does: "close", item: 0 };

function isLinearizable<State, Input, Output>(
  model: Parameters<typeof checkLinearizable<State, Input, Output>>[0],
  ...history: Operation<Input, Output>[]
): boolean {
  return checkLinearizable(model, history).isLinearizable;
}

test("one after the other, only what the object does is accepted", () => {
  assert.ok(isLinearizable(registers));
  assert.ok(isLinearizable(registers, drawn("--", write(1)), drawn("   --", read, 1)));
  assert.not(isLinearizable(registers, drawn("--", write(1)), drawn("   --", read, 0)));
  assert.not(isLinearizable(registers, drawn("--", read, 1), drawn("   --", write(1))));
});

test("of two at the same time either may have been first", () => {
  for (const seen of [0, 1]) assert.ok(isLinearizable(registers, drawn("-----", write(1)), drawn(" --", read, seen)));
  assert.not(isLinearizable(registers, drawn("-----", write(1)), drawn(" --", read, 2)));
});

test("a value that was seen can't be unseen", () => {
  // Reads within one long write: new, then old again.
  assert.not(
    isLinearizable(registers, drawn("----------", write(1)), drawn(" --", read, 1), drawn("     --", read, 0)),
  );
  assert.ok(isLinearizable(registers, drawn("----------", write(1)), drawn(" --", read, 0), drawn("     --", read, 1)));
});

test("a lost update is found", () => {
  assert.ok(isLinearizable(registers, drawn("----", add, 0), drawn(" ----", add, 1), drawn("       --", read, 2)));
  assert.not(isLinearizable(registers, drawn("----", add, 0), drawn(" ----", add, 0), drawn("       --", read, 1)));
});

test("registers are checked each for itself, and the part that doesn't fit is named", () => {
  const history = [
    drawn<RegisterInput, number>("--", write(1, 0)),
    drawn("   --", { ...read, register: 1 }, 7),
    drawn("   --", read, 1),
  ];
  const verdict = checkLinearizable(registers, history);
  assert.not(verdict.isLinearizable);
  assert.is(verdict.part, "1");
  assert.equal(verdict.unexplained, [history[1]]);
});

test("a dead thread's operation may have happened or not, but not before its call", () => {
  const lost = drawn<RegisterInput, number>("  --->", write(1));
  for (const seen of [0, 1]) assert.ok(isLinearizable(registers, lost, drawn("         --", read, seen)));
  assert.ok(isLinearizable(registers, lost, drawn("         --", read, 0), drawn("             --", read, 1)));
  assert.not(isLinearizable(registers, lost, drawn("         --", read, 1), drawn("             --", read, 0)));
  assert.not(isLinearizable(registers, lost, drawn("-", read, 1)));
});

test("a queue hands out in order, each item once", () => {
  const two = queue(2);
  const sent = [drawn<QueueInput, number>("--", send(1), SENT), drawn<QueueInput, number>("   --", send(2), SENT)];
  assert.ok(isLinearizable(two, ...sent, drawn("      --", receive, 1), drawn("         --", receive, 2)));
  assert.not(isLinearizable(two, ...sent, drawn("      --", receive, 2), drawn("         --", receive, 1)));
  assert.ok(isLinearizable(two, ...sent, drawn("      -----", receive, 2), drawn("       --", receive, 1)));
  assert.not(isLinearizable(two, ...sent, drawn("      --", receive, 1), drawn("         --", receive, 1)));
  assert.not(isLinearizable(two, drawn("--", receive, 1), drawn("   --", send(1), SENT)));
});

test("a queue's room and its end are checked", () => {
  const two = queue(1);
  const sent = drawn<QueueInput, number>("--", send(1), SENT);
  assert.not(isLinearizable(two, sent, drawn("   --", send(2), SENT)));
  assert.ok(isLinearizable(two, sent, drawn("   --", trySend(2), FULL)));
  assert.not(isLinearizable(two, sent, drawn("   --", tryReceive, EMPTY)));
  const closed = drawn<QueueInput, number>("   --", close, 0);
  assert.ok(isLinearizable(two, sent, closed, drawn("      --", receive, 1), drawn("         --", receive, CLOSED)));
  assert.not(isLinearizable(two, sent, closed, drawn("      --", receive, CLOSED)));
  assert.not(isLinearizable(two, sent, closed, drawn("      --", send(2), SENT)));
  assert.ok(isLinearizable(two, sent, closed, drawn("      --", send(2), CLOSED)));
});

test("more permits than there are can't be out", () => {
  const one = { does: "acquire", count: 1 } as const;
  assert.ok(isLinearizable(permits(2), drawn("--", one, 1), drawn("   --", one, 1)));
  assert.not(isLinearizable(permits(2), drawn("--", one, 1), drawn("   --", one, 1), drawn("      --", one, 1)));
  const back = { does: "release", count: 1 } as const;
  assert.ok(
    isLinearizable(
      permits(2),
      drawn("--", one, 1),
      drawn("   --", one, 1),
      drawn("      ------", one, 1),
      drawn("       --", back, 1),
    ),
  );
});

test("it answers as a search through all orders does", () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const { below } = seededRandom(seed);
  let yes = 0;
  for (let round = 0; round < 3000; round += 1) {
    const history = Array.from({ length: 1 + below(5) }, (): Operation<QueueInput, number> => {
      const calledAt = below(10);
      const input = [send(1 + below(2)), receive, tryReceive, trySend(3), close][below(5)] as QueueInput;
      const outputs = input.does.endsWith("end") ? [SENT, FULL, CLOSED] : [1, 2, 3, EMPTY, CLOSED];
      const isLost = below(8) === 0;
      const output = isLost ? undefined : outputs[below(outputs.length)];
      return { thread: 0, input, output, calledAt, returnedAt: isLost ? Infinity : calledAt + 0.5 + below(6) };
    });
    const expected = anyOrderExplains(history);
    if (expected) yes += 1;
    assert.is(isLinearizable(queue(2), ...history), expected, `seed ${seed}: ${JSON.stringify(history)}`);
  }
  assert.ok(yes > 100 && yes < 2900, "both answers occur");
});

/** By trying every order of every choice of operations. */
function anyOrderExplains(history: readonly Operation<QueueInput, number>[]): boolean {
  const { initial, step } = queue(2);
  const explain = (state: typeof initial, left: readonly Operation<QueueInput, number>[]): boolean => {
    if (left.every(({ returnedAt }) => returnedAt === Infinity)) return true;
    return left.some((next) => {
      if (left.some((other) => other.returnedAt < next.calledAt)) return false;
      const rest = left.filter((other) => other !== next);
      return step(state, next.input, next.output).some((after) => explain(after, rest));
    });
  };
  return explain(initial, history);
}

test("a history that is too wide to be decided says so", () => {
  const history = Array.from({ length: 16 }, (_, item) => drawn<QueueInput, number>("-----", send(item), SENT));
  const wrong = drawn<QueueInput, number>("      --", receive, 99);
  assert.throws(() => checkLinearizable(queue(99), [...history, wrong], 1000), /more than 1000 orders/);
});

test.run();
