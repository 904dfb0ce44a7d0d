import { getEventListeners } from "node:events";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { onAbort } from "@millrace/base";

test("any number of callbacks share one listener, which goes with the last of them", () => {
  const { signal } = new AbortController();
  const forgets = Array.from({ length: 100 }, () => onAbort(signal, assert.unreachable as () => void));
  assert.is(getEventListeners(signal, "abort").length, 1);
  for (const forget of forgets.slice(1)) forget();
  assert.is(getEventListeners(signal, "abort").length, 1);
  forgets[0]?.();
  forgets[0]?.();
  assert.is(getEventListeners(signal, "abort").length, 0);
});

test("each callback is called once, also one given twice; a forgotten one isn't", () => {
  const controller = new AbortController();
  const called: string[] = [];
  const twice = (): number => called.push("twice");
  onAbort(controller.signal, twice);
  onAbort(controller.signal, twice);
  onAbort(controller.signal, () => called.push("kept"));
  onAbort(controller.signal, () => called.push("forgotten"))();
  const forgetLater = onAbort(controller.signal, () => called.push("late"));
  controller.abort();
  forgetLater();
  assert.equal(called, ["twice", "twice", "kept", "late"]);
});

test("a callback may forget others, and what it adds elsewhere stays", () => {
  const controller = new AbortController();
  const other = new AbortController();
  const called: string[] = [];
  onAbort(controller.signal, () => {
    forgetSecond();
    onAbort(other.signal, () => called.push("other"));
  });
  const forgetSecond = onAbort(controller.signal, () => called.push("second"));
  controller.abort();
  other.abort();
  assert.equal(called, ["other"]);
});

test.run();
