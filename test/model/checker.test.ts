// The checker itself: it finds what it promises to find, models waiting as Node does, and refuses
// what it can't follow.
import { mkdirSync, writeFileSync } from "node:fs";
import { join as joinPath } from "node:path";
import { pathToFileURL } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { temporaryDirectory } from "../support.ts";
import type { Scenario } from "./api.ts";
import { type Failure, limitsOf, type Outcome, search } from "./explore.ts";
import { scenarioFiles } from "./files.ts";
import { load } from "./load.ts";
import { replay } from "./replay.ts";
import type { Form } from "./rewrite.ts";
import { decodeSchedule, encodeSchedule } from "./schedule.ts";
import { runFile } from "./suite.ts";

const STAR: Form = { calls: "star", plain: "check" };
const WRAP: Form = { calls: "wrap", plain: "check" };
const KILL: Form = { calls: "star", plain: "yield" };

const folder = joinPath(temporaryDirectory(), "model", "scenarios");
mkdirSync(folder, { recursive: true });
let written = 0;

/** Writes a module that may use the checker's functions, and returns its URL. */
function write(text: string): string {
  const api = JSON.stringify(new URL("./api.js", import.meta.url).href);
  written += 1;
  const path = joinPath(folder, `written-${written}.js`);
  writeFileSync(path, `import { join, pause } from ${api};\n${text}`);
  return pathToFileURL(path).href;
}

/** A scenario with a shared array `w` of 8 words; the others of its fields and helpers as text. */
function scenarioText(fields: string, helpers = ""): string {
  return `${helpers}
export const scenarios = [{
  name: "written",
  setUp: () => new Int32Array(new SharedArrayBuffer(32)),
  ${fields}
}];
void join; void pause;`;
}

async function run(fields: string, form: Form = STAR, helpers = "", preemptions?: number): Promise<Outcome> {
  const loaded = await load(write(scenarioText(fields, helpers)), form);
  const scenario = loaded.scenarios[0] as Scenario;
  const limits = limitsOf(scenario, preemptions === undefined ? undefined : { preemptions });
  return search(loaded, scenario, limits, { wraps: form.calls === "wrap" });
}

async function failureOf(fields: string, form: Form = STAR, helpers = ""): Promise<Failure> {
  const { failure } = await run(fields, form, helpers);
  assert.ok(failure, "something is wrong with this, and it was not found");
  return failure;
}

async function passes(fields: string, form: Form = STAR, helpers = ""): Promise<void> {
  const { failure, isComplete } = await run(fields, form, helpers);
  assert.is(failure, undefined, failure?.message);
  assert.ok(isComplete);
}

// ── what it finds ───────────────────────────────────────────────────────────────────────────────

test("finds a lost update, and only with a preemption", async () => {
  const fields = `threads: {
    a(w) { Atomics.store(w, 0, Atomics.load(w, 0) + 1); },
    b(w) { Atomics.store(w, 0, Atomics.load(w, 0) + 1); },
  },
  check(w) { if (Atomics.load(w, 0) !== 2) throw new Error("lost"); }`;
  assert.match((await failureOf(fields)).message, /lost/);
  assert.is((await run(fields, STAR, "", 0)).failure, undefined);
});

test("finds a deadlock of two locks taken in different orders", async () => {
  const helpers = `
function lock(w, at) { while (Atomics.compareExchange(w, at, 0, 1) !== 0) Atomics.wait(w, at, 1); }
function unlock(w, at) { Atomics.store(w, at, 0); Atomics.notify(w, at); }`;
  const threads = (second: string): string => `threads: {
    a(w) { lock(w, 0); lock(w, 1); unlock(w, 1); unlock(w, 0); },
    b(w) { ${second} },
  }`;
  const failure = await failureOf(threads("lock(w, 1); lock(w, 0); unlock(w, 0); unlock(w, 1);"), STAR, helpers);
  assert.is(failure.kind, "deadlock");
  await passes(threads("lock(w, 0); lock(w, 1); unlock(w, 1); unlock(w, 0);"), STAR, helpers);
});

test("finds broken mutual exclusion as accesses without order, with both lines", async () => {
  const threads = (enter: string): string => {
    const body = `${enter} w[1] = w[1] + 1; Atomics.store(w, 0, 0); Atomics.notify(w, 0);`;
    return `threads: { a(w) { ${body} }, b(w) { ${body} } }, check(w) { if (w[1] !== 2) throw new Error("lost"); }`;
  };
  const failure = await failureOf(threads("if (Atomics.load(w, 0) === 0) Atomics.store(w, 0, 1);"));
  assert.is(failure.kind, "race");
  assert.match(failure.message, /[ab]: .*written-\d+\.js:\d+: .*\n.*[ab]: .*written/);
  await passes(threads("while (Atomics.compareExchange(w, 0, 0, 1) !== 0) Atomics.wait(w, 0, 1);"));
});

test("finds a plain access beside an atomic one, and not one that is ordered", async () => {
  assert.is((await failureOf("threads: { a(w) { Atomics.store(w, 0, 1); }, b(w) { return w[0]; } }")).kind, "race");
  await passes(`threads: {
    a(w) { w[1] = 5; Atomics.store(w, 0, 1); },
    b(w) { if (Atomics.load(w, 0) === 1 && w[1] !== 5) throw new Error("not published"); },
  }`);
});

test("finds a race through a DataView and through a view of a part", async () => {
  const inOrder = `b(w) {
    if (Atomics.load(w, 0) === 1 && new DataView(w.buffer, 4).getUint16(0, true) !== 5) throw new Error("not published");
  }`;
  await passes(
    `threads: { a(w) { new DataView(w.buffer).setInt32(4, 5, true); Atomics.store(w, 0, 1); }, ${inOrder} }`,
  );
  const early = "a(w) { Atomics.store(w, 0, 1); new DataView(w.buffer).setInt32(4, 5, true); }";
  assert.is((await failureOf(`threads: { ${early}, ${inOrder} }`)).kind, "race");
  const part = "threads: { a(w) { w.subarray(1, 3)[0] = 1; }, b(w) { return w[1]; } }";
  assert.is((await failureOf(part)).kind, "race");
});

test("finds a race with what the codec reads and writes", async () => {
  const helpers = 'import { copyBytes, decode, encode } from "@millrace/codec";';
  const reader = `b(w) {
    if (Atomics.load(w, 0) === 1 && decode(new Uint8Array(w.buffer), 4, 7) !== "ab") throw new Error("not published");
  }`;
  const publish =
    'const bytes = Uint8Array.from(encode("ab")); copyBytes(bytes, 0, bytes.length, new Uint8Array(w.buffer), 4);';
  await passes(`threads: { a(w) { ${publish} Atomics.store(w, 0, 1); }, ${reader} }`, STAR, helpers);
  const early = `threads: { a(w) { Atomics.store(w, 0, 1); ${publish} }, ${reader} }`;
  assert.is((await failureOf(early, STAR, helpers)).kind, "race");
});

test("a thread that looks around until time has passed ends when looks take time", async () => {
  const body =
    "threads: { a(w) { const end = performance.now() + 3; while (performance.now() < end) Atomics.load(w, 0); } }";
  assert.is((await failureOf(body)).kind, "livelock");
  await passes(`tickMs: 1, ${body}`);
});

test("a wait runs out of time only where a scenario says that time passes", async () => {
  const body = `threads: {
    a(w) { while (Atomics.load(w, 1) < 2) { Atomics.wait(w, 0, 0, 10); Atomics.add(w, 1, 1); } },
    b(w) { Atomics.load(w, 1); },
  }`;
  assert.is((await failureOf(body)).kind, "deadlock");
  await passes(`timePasses: true, ${body}`);
  assert.is((await failureOf("timePasses: true, threads: { a(w) { Atomics.wait(w, 0, 0); } }")).kind, "deadlock");
});

test("finds a livelock with and without steps in its loop", async () => {
  assert.is((await failureOf("threads: { a(w) { while (Atomics.load(w, 0) === 0); } }")).kind, "livelock");
  assert.is((await failureOf("threads: { a(w) { while (true); } }")).kind, "livelock");
});

test("finds exceptions and rejections that nobody looks at", async () => {
  assert.is((await failureOf("threads: { a() { throw new Error('a bug'); } }")).kind, "exception");
  const rejected = "threads: { async a(w) { void (async () => { throw new Error('a bug'); })(); await undefined; } }";
  assert.match((await failureOf(rejected)).message, /nobody looks.*a bug/);
});

test("finds code that behaves differently the second time", async () => {
  const fields = `threads: {
    a(w) { if (process.seen) Atomics.load(w, 1); else { process.seen = true; Atomics.load(w, 0); } Atomics.add(w, 0, 1); },
    b(w) { Atomics.add(w, 0, 1); Atomics.add(w, 0, 1); Atomics.add(w, 0, 1); },
  }`;
  assert.match((await failureOf(fields)).message, /not deterministic/);
});

test("a schedule as text leads to the same failure again", async () => {
  const url = write(
    scenarioText(`threads: { a(w) { Atomics.add(w, 0, 1); pause(); Atomics.add(w, 0, 1); }, b(w) {
      if (Atomics.load(w, 0) === 1) throw new Error("in between"); } }`),
  );
  const loaded = await load(url, STAR);
  const scenario = loaded.scenarios[0] as Scenario;
  const { failure } = search(loaded, scenario, limitsOf(scenario), { wraps: false });
  const again = replay(loaded, scenario, limitsOf(scenario), (failure as Failure).schedule, false);
  assert.match(again.failure?.message ?? "", /in between/);
  assert.ok(
    again.lines.some((line) => /^a +add 0\[0\] 0 .*Atomics\.add\(w, 0, 1\)/.test(line)),
    again.lines.join("\n"),
  );
  const choices = [0, 0, 0, 8, 7, 18, 17, 16, 16];
  assert.equal(decodeSchedule(encodeSchedule(choices)), choices);
});

// ── waiting ─────────────────────────────────────────────────────────────────────────────────────

test("a wait without a notification, and a wake-up that is lost", async () => {
  assert.is(
    (await failureOf("threads: { a(w) { Atomics.wait(w, 0, 0); }, b(w) { Atomics.notify(w, 0); } }")).kind,
    "deadlock",
  );
  await passes(`threads: {
    a(w) { while (Atomics.load(w, 0) === 0) Atomics.wait(w, 0, 0); },
    b(w) { Atomics.store(w, 0, 1); Atomics.notify(w, 0); },
  }`);
});

test("sync and async waiters share a queue: a notify can go to a blocked event loop", async () => {
  const fields = (count: string): string => `threads: {
    async a(w) {
      const first = Atomics.waitAsync(w, 0, 0);
      if (first.async) Atomics.wait(w, 0, 0);
    },
    b(w) { Atomics.store(w, 0, 1); Atomics.notify(w, 0${count}); },
  }`;
  assert.is((await failureOf(fields(", 1"))).kind, "deadlock");
  await passes(fields(""));
});

test("what waitAsync promised arrives only when the thread is back at its event loop", async () => {
  await passes(`threads: {
    async a(w) {
      let arrived = false;
      const wait = Atomics.waitAsync(w, 0, 0);
      if (!wait.async) return;
      const done = wait.value.then((outcome) => { arrived = true; return outcome; });
      for (let turn = 0; turn < 3; turn += 1) { pause(); if (arrived) throw new Error("too early"); }
      if ((await done) !== "ok" || !arrived) throw new Error("never");
    },
    b(w) { Atomics.store(w, 0, 1); Atomics.notify(w, 0); },
  }`);
});

test("time-outs are steps: none unless allowed, then at any moment", async () => {
  const threads = `threads: {
    a(w, log) { log.push(Atomics.wait(w, 0, 0, 10)); },
    b(w) { Atomics.store(w, 0, 1); Atomics.notify(w, 0); },
  }, check(w, { logs }) { if (logs.a[0] === "timed-out") throw new Error("ran out"); }`;
  await passes(threads);
  assert.match((await failureOf(`${threads}, bounds: { timeouts: 1 }`)).message, /ran out/);
  assert.is((await failureOf("threads: { a(w) { Atomics.wait(w, 0, 0, 10); } }")).kind, "deadlock");
  assert.match(
    (
      await failureOf(`bounds: { timeouts: 1 }, threads: { async a(w) {
      const late = await Atomics.waitAsync(w, 0, 0, 5).value;
      if (late === "timed-out" && performance.now() === 5) throw new Error("as it should");
    } }`)
    ).message,
    /as it should/,
  );
});

test("the main thread doesn't block", async () => {
  assert.match(
    (await failureOf("main: 'a', threads: { a(w) { Atomics.wait(w, 0, 0); } }")).message,
    /main thread blocks/,
  );
});

test("a thread that dies can take a wake-up with it", async () => {
  const waiter = "while (Atomics.load(w, 0) === 0) Atomics.wait(w, 0, 0);";
  const fields = `threads: {
    a(w) { ${waiter} },
    b(w) { ${waiter} },
    c(w) { Atomics.store(w, 0, 1); Atomics.notify(w, 0, 1); Atomics.notify(w, 0, 1); },
  }`;
  await passes(fields);
  await passes(`${fields}, kill: ["a"]`, KILL);
  const chained = `threads: {
    a(w) { while (Atomics.load(w, 0) === 0) Atomics.wait(w, 0, 0); Atomics.notify(w, 0, 1); },
    b(w) { while (Atomics.load(w, 0) === 0) Atomics.wait(w, 0, 0); Atomics.notify(w, 0, 1); },
    c(w) { Atomics.store(w, 0, 1); Atomics.notify(w, 0, 1); },
  }`;
  await passes(chained);
  const failure = await failureOf(`${chained}, kill: ["a"]`, KILL);
  assert.is(failure.kind, "deadlock");
  assert.match(failure.message, /b would wait/);
});

test("a thread dies between plain stores, without its finally, and a join learns it", async () => {
  const failure = await failureOf(
    `kill: ["a"], threads: {
      a(w) { try { w[0] = 1; w[1] = 1; } finally { w[2] = 1; } },
      b(w) { if (join("a") && w[0] === 1 && w[1] === 0 && w[2] === 0) throw new Error("torn"); },
    }`,
    KILL,
  );
  assert.match(failure.message, /torn/);
});

test("timers, immediates and microtasks run in a thread's own loop", async () => {
  await passes(`bounds: { timeouts: 1 }, threads: {
    async a(w, log) {
      const order = [];
      setImmediate(() => order.push("immediate"));
      queueMicrotask(() => order.push("microtask"));
      order.push("first");
      await new Promise((resolve) => setImmediate(resolve));
      log.push(order.join());
      const controller = new AbortController();
      let aborted = 0;
      controller.signal.addEventListener("abort", () => { aborted = Atomics.add(w, 0, 1) + 1; });
      controller.abort();
      await new Promise((resolve) => setTimeout(resolve, 20));
      log.push(aborted + ":" + performance.now());
    },
  }, check(w, { logs }) { if (logs.a.join(" ") !== "first,microtask,immediate 1:22") throw new Error(logs.a.join(" ")); }`);
});

test("a module's variables belong to one thread and one execution", async () => {
  const helpers =
    "let calls = 0; const names = new Set(); const last = { name: '' };" +
    "function call(name) { if (last.name !== '' && last.name !== name) return 9; last.name = name; calls += 1; names.add(name); return calls + names.size; }";
  await passes(
    `threads: {
      a(w) { Atomics.add(w, 0, 1); call("a"); Atomics.add(w, 0, 1); if (call("a") !== 3) throw new Error("shared"); },
      b(w) { Atomics.add(w, 0, 1); if (call("b") !== 2) throw new Error("shared"); },
    }`,
    STAR,
    helpers,
  );
});

// ── what it refuses ─────────────────────────────────────────────────────────────────────────────

const REFUSED: [what: string, code: string][] = [
  ["Atomics must be called directly", "const { load } = Atomics; void load;"],
  ["Atomics must be called directly", "const other = Atomics; void other;"],
  ["Atomics must be called directly", "const f = Atomics.load; void f;"],
  ["in a form that the checker doesn't know", "Atomics['lo' + 'ad'](w, 0);"],
  ["with a spread", "Atomics.load(...[w, 0]);"],
  ["atomics in a function that native code calls", "[1].forEach(() => Atomics.load(w, 0));"],
  ["handed to native code", "const f = () => Atomics.load(w, 0); [1].map(f);"],
  ["can't be driven", "[1].map(async () => Atomics.load(w, 0));"],
  ["a setter with atomics", "class A { set x(v) { Atomics.store(w, 0, v); } } void A;"],
  ["atomics in a default parameter", "const f = (x = Atomics.load(w, 0)) => x; f();"],
  ["in the middle of `?.`", "const f = () => Atomics.load(w, 0); const o = { f }; o?.f().x;"],
  ["`arguments`", "(function () { return Atomics.load(w, arguments.length); })();"],
  ["`super`", "class A { m() {} } class B extends A { m() { super.m(); Atomics.load(w, 0); } } void B;"],
  ["a tagged template", "String.raw`x${Atomics.load(w, 0)}`;"],
  ["`for await`", "(async () => { for await (const x of []) Atomics.store(w, 0, x); })();"],
  ["a static field with state", "class A { static all = new Map(); } void A;"],
];

for (const [what, code] of REFUSED) {
  test(`refuses with file and line: ${code}`, async () => {
    try {
      await load(write(scenarioText(`threads: { a(w) {\n ${code}\n } }`)), STAR);
    } catch (thrown) {
      assert.match(String(thrown), /written-\d+\.js:\d+:\d+: /);
      assert.ok(String(thrown).includes(what), String(thrown));
      return;
    }
    assert.unreachable("it was accepted");
  });
}

test("refuses a module's state that is exported", async () => {
  let message = "";
  try {
    await load(write(`export let state = 0;\n${scenarioText("threads: {}")}`), STAR);
  } catch (thrown) {
    message = String(thrown);
  }
  assert.match(message, /state must not be exported/);
});

const REFUSED_WHEN_REACHED: [what: string, code: string, helpers?: string][] = [
  ["other than by", "w.fill(1);"],
  ["other than by", "return w.slice();"],
  ["other than by", "w[0]++;"],
  ["other than by", "for (const x of w) void x;"],
  ["other than by", "return [...w];"],
  ["other than by", "const [x] = w; return x;"],
  ["other than by", "return new Set(w);"],
  ["only loads may stand", "new A(w);", "class A { constructor(w) { Atomics.store(w, 0, 1); } }"],
  ["only loads may stand", "return [1].map((x) => put(w, x));", "function put(w, x) { return Atomics.add(w, 0, x); }"],
  ["other than by", "return Buffer.from(w.buffer).readUInt32LE(0);"],
  ["other than by", "return Buffer.from(w);"],
  ["given to encode", "encode(w);", 'import { encode } from "@millrace/codec";'],
  ["a generator method", "return new A().m();", "class A { *m() { yield 1; } }"],
  ["Math.random", "return Math.random();"],
  ["not shared", "Atomics.load(new Int32Array(4), 0);"],
  ["index 8 of shared memory with 8 elements", "Atomics.load(w, 8);"],
  ["index 9 of shared memory", "return w[9];"],
];

for (const [what, code, helpers] of REFUSED_WHEN_REACHED) {
  test(`refuses when it is reached: ${code} ${helpers ?? ""}`, async () => {
    const { kind, message } = await failureOf(`threads: { a(w) { ${code} } }`, STAR, helpers);
    assert.ok(["unsupported", "access"].includes(kind), kind);
    assert.ok(message.includes(what), message);
  });
}

test("other arrays may do what shared ones may not; loads may stand in constructors", async () => {
  await passes(
    `threads: { a(w) {
      const own = new Int32Array(4).fill(2);
      own[0]++;
      own[1] += 3;
      w[2] += own[1];
      w.set(own, 3);
      if ([...own, w[2], w[3], w[4], new A(w).x].join() !== "3,5,2,2,5,3,5,0") throw new Error([...own, w[2], w[3], w[4]].join());
    } }`,
    STAR,
    "class A { constructor(w) { this.x = Atomics.load(w, 0); } }",
  );
});

test("the wrap form finds a call that was dropped", async () => {
  const fields =
    "threads: { a(w) { const table = { run: () => { Atomics.store(w, 0, 1); } }; [1].forEach(table.run); Atomics.load(w, 0); } }";
  assert.match((await failureOf(fields, WRAP)).message, /a call was dropped: run/);
});

// ── the search itself ───────────────────────────────────────────────────────────────────────────

test("the state cache reaches the same ends as a search without it, in both forms", async () => {
  const names = [
    "bit mask: of two threads",
    "parker: a waker that dies halfway, a blocking",
    "task table: a task is taken back",
  ];
  let compared = 0;
  for (const { url } of scenarioFiles(["bit-mask", "parker", "task-table"])) {
    for (const calls of ["star", "wrap"] as const) {
      for (const plain of ["check", "yield"] as const) {
        const loaded = await load(url, { calls, plain });
        for (const scenario of loaded.scenarios) {
          if (!names.some((name) => scenario.name.startsWith(name))) continue;
          if ((scenario.kill !== undefined) !== (plain === "yield")) continue;
          const limits = { ...limitsOf(scenario), preemptions: 1 };
          const cached = new Set<string>();
          const without = new Set<string>();
          const wraps = calls === "wrap";
          assert.ok(search(loaded, scenario, limits, { wraps, ends: cached }).isComplete);
          assert.ok(search(loaded, scenario, limits, { wraps, ends: without, usesCache: false }).isComplete);
          assert.ok(without.size > 1);
          assert.equal([...cached].toSorted(), [...without].toSorted(), scenario.name);
          compared += 1;
        }
      }
    }
  }
  assert.is(compared, 6);
});

test("a third party's ring runs as it is", async () => {
  const text = `import { RingBuffer } from "ringbuf.js";
export const scenarios = [{
  name: "ringbuf.js",
  setUp: () => ({ sab: RingBuffer.getStorageForCapacity(2, Uint32Array) }),
  threads: {
    producer({ sab }, log) {
      const ring = new RingBuffer(sab, Uint32Array);
      for (let item = 1; item <= 3; item += 1) log.push(ring.push(Uint32Array.of(item), 1));
    },
    consumer({ sab }, log) {
      const ring = new RingBuffer(sab, Uint32Array);
      for (let attempt = 0; attempt < 3; attempt += 1) {
        const into = new Uint32Array(1);
        if (ring.pop(into, 1) === 1) log.push(into[0]);
      }
    },
  },
  check(shared, { logs }) {
    const sent = [1, 2, 3].filter((item) => logs.producer[item - 1] === 1);
    if (sent.slice(0, logs.consumer.length).join() !== logs.consumer.join()) throw new Error("lost");
  },
}];`;
  const loaded = await load(write(text), STAR);
  const scenario = loaded.scenarios[0] as Scenario;
  const { failure, executions } = search(loaded, scenario, limitsOf(scenario), { wraps: false });
  assert.is(failure, undefined, failure?.message);
  assert.ok(executions > 10);
});

test("a mutant must match exactly once; a survivor fails, and so does a broken one", async () => {
  const base = scenarioText(
    "threads: { a(w) { Atomics.add(w, 0, 1); } }, check(w) { if (w[0] !== 1) throw new Error('lost'); }",
  );
  const failures = async (from: string, to: string): Promise<string> => {
    // Escaped, so that it isn't found in the list of mutants, which is in the same file.
    const hidden = `"\\u${from.charCodeAt(0).toString(16).padStart(4, "0")}" + ${JSON.stringify(from.slice(1))}`;
    const mutant = `{ breaks: "x", file: "written-${written + 1}", from: ${hidden}, to: ${JSON.stringify(to)} }`;
    const url = write(`${base}\nexport const mutants = [${mutant}];`);
    return (await runFile(url, { isDeep: false, say: () => undefined })).failures.join();
  };
  assert.is(await failures("Atomics.add(w, 0, 1)", "Atomics.add(w, 0, 2)"), "");
  assert.match(await failures("Atomics.add(w, 0, 1)", "Atomics.add(w, 0, 1 + 0)"), /SURVIVED/);
  assert.match(await failures("Atomics.add(w, 0, 1)", "nowhere()"), /broken/);
  assert.match(await failures("void", "void 1; void").catch(String), /occurs \d+ times, not once/);
});

test.run();
