// First: it sees the timers that the modules below take when they are loaded.
import { timers } from "../fixtures/taken-timers.ts";
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parkWord, Reactor, type Source, ThreadTable, unpark } from "@millrace/atomics-sync";
import type { Waker, WakerResult } from "../fixtures/reactor-waker.ts";
import { runThreads } from "../fixtures/threads.ts";
import { until } from "../support.ts";

const AWAKE = 0;
const ASYNC = 2;
/**
 * Turns of the event loop that are more than enough for anything to happen that is going to happen
 * without a bell.
 */
const MANY_TURNS = 50;

/** Far longer than anything takes. */
const LONG_MS = 10_000;

/** A source whose things arrive by hand. */
class Inbox implements Source {
  readonly pollMs: number;
  expected: number;
  arrived = 0;
  handled = 0;
  polls = 0;
  /** Called at the begin of each poll. */
  onPoll: () => void = () => {};

  constructor(pollMs: number, expected = 1) {
    this.pollMs = pollMs;
    this.expected = expected;
  }

  poll(): number {
    this.polls += 1;
    this.onPoll();
    const { arrived } = this;
    this.arrived = 0;
    this.handled += arrived;
    return arrived;
  }

  isExpecting(): boolean {
    return this.handled < this.expected;
  }
}

/** A rest of this length ends when a test says so. */
const REST_MS = 77_777;

/** A source whose things may lie for a while. */
class PatientInbox extends Inbox {
  rest = REST_MS;

  restMs(): number {
    return this.rest;
  }
}

interface Bench {
  readonly reactor: Reactor;
  readonly words: Int32Array;
  /** The reactor's PARK word. */
  readonly park: () => number;
  readonly unpark: () => boolean;
  /**
   * Does now what the safety net does once a second. In these tests the net never works by itself,
   * so that only bells wake.
   */
  readonly tick: () => void;
  /** Whether the safety net keeps the process alive. */
  readonly keepsAlive: () => boolean;
  /** Number of timers that the reactor has started for it. */
  readonly timers: () => number;
  /** Ends what rests there are; how many those were. */
  readonly endRests: () => number;
}

/** Runs `body` with a reactor of its own, and detaches the sources afterwards. */
async function withReactor(sources: readonly Source[], body: (bench: Bench) => Promise<void> | void): Promise<void> {
  const { words } = new ThreadTable(ThreadTable.allocate(1));
  const reactor = new Reactor(words, 0);
  const original = { ...timers };
  let net: { readonly tick: () => void; readonly timer: NodeJS.Timeout } | undefined;
  let nets = 0;
  const rests: (() => void)[] = [];
  timers.setTimeout = (over, ms) => {
    if (ms !== REST_MS) return original.setTimeout(over, ms);
    rests.push(over);
    return original.setTimeout(() => {}, 0);
  };
  timers.setInterval = (tick) => {
    nets += 1;
    net = { tick, timer: original.setInterval(() => {}, 2 ** 30) };
    return net.timer;
  };
  for (const source of sources) reactor.add(source);
  try {
    await body({
      reactor,
      words,
      park: () => Atomics.load(words, parkWord(0)),
      unpark: () => unpark(words, 0),
      tick: () => {
        assert.ok(net !== undefined, "there is a safety net");
        net?.tick();
      },
      keepsAlive: () => net?.timer.hasRef() ?? false,
      timers: () => nets,
      endRests: () => {
        const over = rests.splice(0);
        for (const end of over) end();
        return over.length;
      },
    });
  } finally {
    for (const source of sources) reactor.remove(source);
    Object.assign(timers, original);
  }
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

function asleep(bench: Bench): Promise<void> {
  return until(() => bench.park() === ASYNC, "the reactor sleeps", LONG_MS);
}

function handled(inbox: Inbox, count: number): Promise<void> {
  return until(() => inbox.handled === count, `${count} things are handled`, LONG_MS);
}

test("a source is polled as long as it expects something, and not afterwards", () => {
  const inbox = new Inbox(Infinity, 5);
  return withReactor([inbox], async ({ reactor }) => {
    await turns(MANY_TURNS);
    assert.is(inbox.polls, 0, "nothing is polled before something is expected");
    inbox.onPoll = () => (inbox.arrived = 1);
    reactor.expect();
    await handled(inbox, 5);
    await turns(MANY_TURNS);
    assert.is(inbox.polls, 5);
  });
});

test("while it polls, the reactor finds what no bell announces", () => {
  const inbox = new Inbox(Infinity);
  return withReactor([inbox], async (bench) => {
    bench.reactor.expect();
    await turns(MANY_TURNS);
    assert.is(bench.park(), AWAKE);
    inbox.arrived = 1;
    assert.not(bench.unpark(), "nobody needs to be woken");
    await handled(inbox, 1);
  });
});

test("asleep, it finds what a bell announces and nothing else", () => {
  const inbox = new Inbox(0);
  return withReactor([inbox], async (bench) => {
    bench.reactor.expect();
    await asleep(bench);
    const { polls } = inbox;
    inbox.arrived = 1;
    await turns(MANY_TURNS);
    assert.is(inbox.polls, polls, "it doesn't poll in its sleep");
    assert.ok(bench.unpark());
    await handled(inbox, 1);
    assert.is(bench.reactor.wakeupsMissed, 0);
    assert.is(bench.park(), AWAKE);
  });
});

test("the longest poll time counts, while its source expects something", () => {
  const short = new Inbox(0, 2);
  const long = new Inbox(Infinity);
  return withReactor([short, long], async (bench) => {
    bench.reactor.expect();
    await turns(MANY_TURNS);
    assert.is(bench.park(), AWAKE);
    long.arrived = 1;
    await asleep(bench);
    assert.is(long.handled, 1);
    short.arrived = 1;
    bench.unpark();
    await handled(short, 1);
    await asleep(bench);
  });
});

test("one bell is enough for all sources", () => {
  const inboxes = [new Inbox(0), new Inbox(0), new Inbox(0)];
  return withReactor(inboxes, async (bench) => {
    bench.reactor.expect();
    await asleep(bench);
    for (const inbox of inboxes) inbox.arrived = 1;
    assert.ok(bench.unpark());
    for (const inbox of inboxes) await handled(inbox, 1);
  });
});

test("what arrives between the announcement and the last look is found without a bell", () => {
  const inbox = new Inbox(0, 3);
  return withReactor([inbox], async (bench) => {
    inbox.onPoll = () => {
      // The poll that sees the announcement is the last look.
      if (bench.park() === ASYNC && inbox.handled === 0) inbox.arrived = 1;
    };
    bench.reactor.expect();
    await handled(inbox, 1);
    await asleep(bench);
    assert.is(inbox.handled, 1);
    assert.is(bench.reactor.wakeupsMissed, 0);
  });
});

test("a bell that rings after the last look and before the sleep is heard", () => {
  const inbox = new Inbox(0, 2);
  return withReactor([inbox], async (bench) => {
    let isWoken = false;
    inbox.onPoll = () => {
      // Only a poll after the bell finds something: the last look, in the midst of which it rings,
      // comes too early.
      if (isWoken) inbox.arrived = inbox.handled === 0 ? 1 : 0;
      else if (bench.park() === ASYNC) isWoken = bench.unpark();
    };
    bench.reactor.expect();
    await handled(inbox, 1);
    assert.ok(isWoken);
    await asleep(bench);
  });
});

test("a new expectation ends the sleep: it polls, and needs no bell meanwhile", () => {
  const inbox = new Inbox(0, 2);
  return withReactor([inbox], async (bench) => {
    bench.reactor.expect();
    await asleep(bench);
    inbox.arrived = 1;
    bench.reactor.expect();
    assert.is(bench.park(), AWAKE);
    assert.not(bench.unpark());
    await handled(inbox, 1);
    await asleep(bench);
    inbox.arrived = 1;
    assert.ok(bench.unpark());
    await handled(inbox, 2);
  });
});

test("however often it falls asleep, it waits for one bell at a time", () => {
  const inbox = new Inbox(0, 1);
  const waitAsyncOriginal = Atomics.waitAsync;
  let waits = 0;
  Atomics.waitAsync = ((...values: Parameters<typeof waitAsyncOriginal>) => {
    waits += 1;
    return waitAsyncOriginal.apply(Atomics, values);
  }) as typeof waitAsyncOriginal;
  return withReactor([inbox], async (bench) => {
    for (let round = 0; round < 20; round += 1) {
      bench.reactor.expect();
      await asleep(bench);
    }
    assert.is(waits, 1);
    inbox.arrived = 1;
    assert.ok(bench.unpark());
    await handled(inbox, 1);
  }).finally(() => (Atomics.waitAsync = waitAsyncOriginal));
});

test("a bell that is still on its way when the reactor polls again disturbs nothing", () => {
  const inbox = new Inbox(0, 40);
  return withReactor([inbox], async (bench) => {
    bench.reactor.expect();
    for (let round = 1; round <= 20; round += 1) {
      await asleep(bench);
      inbox.arrived = 1;
      assert.ok(bench.unpark());
      bench.reactor.expect();
      await handled(inbox, 2 * round - 1);
      await asleep(bench);
      inbox.arrived = 1;
      assert.ok(bench.unpark());
      await handled(inbox, 2 * round);
    }
  });
});

test("expecting what is expected already costs no second round of polls", () => {
  const inbox = new Inbox(Infinity, 100);
  return withReactor([inbox], async ({ reactor }) => {
    for (let call = 0; call < 10; call += 1) reactor.expect();
    await turns(MANY_TURNS);
    assert.ok(inbox.polls <= MANY_TURNS + 1, `${inbox.polls} polls in ${MANY_TURNS} turns`);
  });
});

test("a bell that is heard too late begins no second round of polls", () => {
  const short = new Inbox(0, 1);
  const long = new Inbox(Infinity, 0);
  return withReactor([short, long], async (bench) => {
    bench.reactor.expect();
    await asleep(bench);
    assert.ok(bench.unpark());
    long.expected = 1;
    bench.reactor.expect();
    await turns(MANY_TURNS);
    const { polls } = long;
    await turns(MANY_TURNS);
    assert.ok(long.polls - polls <= MANY_TURNS + 1, `${long.polls - polls} polls in ${MANY_TURNS} turns`);
  });
});

test("the safety net keeps the process alive exactly while something is expected", () => {
  const inbox = new Inbox(0, 1);
  return withReactor([inbox], async (bench) => {
    assert.not(bench.keepsAlive());
    for (let round = 1; round <= 3; round += 1) {
      inbox.expected = round;
      bench.reactor.expect();
      await asleep(bench);
      assert.ok(bench.keepsAlive());
      inbox.arrived = 1;
      bench.unpark();
      await handled(inbox, round);
      await turns(MANY_TURNS);
      assert.not(bench.keepsAlive());
    }
    assert.is(bench.timers(), 1);
  });
});

test("what no bell has announced is found by the safety net, and counted", () => {
  const inbox = new Inbox(0, 2);
  return withReactor([inbox], async (bench) => {
    bench.reactor.expect();
    await asleep(bench);
    bench.tick();
    assert.is(bench.reactor.wakeupsMissed, 0, "there was nothing to find");
    inbox.arrived = 1;
    bench.tick();
    assert.is(inbox.handled, 1);
    assert.is(bench.reactor.wakeupsMissed, 1);
    // It works as before afterwards.
    await asleep(bench);
    inbox.arrived = 1;
    assert.ok(bench.unpark());
    await handled(inbox, 2);
    assert.is(bench.reactor.wakeupsMissed, 1);
  });
});

test("the safety net leaves a reactor alone that polls, or that expects nothing", () => {
  const short = new Inbox(0, 1);
  const long = new Inbox(Infinity, 0);
  return withReactor([short, long], async (bench) => {
    bench.reactor.expect();
    await asleep(bench);
    short.arrived = 1;
    bench.unpark();
    await handled(short, 1);
    await turns(MANY_TURNS);
    short.arrived = 1;
    bench.tick();
    assert.is(short.handled, 1, "nothing is expected");

    long.expected = 1;
    bench.reactor.expect();
    const { polls } = long;
    bench.tick();
    assert.is(long.polls, polls, "it polls anyway");
    assert.is(bench.reactor.wakeupsMissed, 0);
  });
});

/** Polls meanwhile. */
async function pollsIn(inbox: Inbox, count: number): Promise<number> {
  const { polls } = inbox;
  await turns(count);
  return inbox.polls - polls;
}

test("what may lie for a while is found by a timer, without polling and without a bell", () => {
  const inbox = new PatientInbox(Infinity, 2);
  return withReactor([inbox], async (bench) => {
    bench.reactor.expect();
    await turns(MANY_TURNS);
    assert.is(inbox.polls, 1, "it has looked once, and rests");
    assert.is(bench.park(), AWAKE);
    inbox.arrived = 1;
    assert.not(bench.unpark(), "nobody needs to be woken");
    bench.reactor.expect();
    assert.is(await pollsIn(inbox, MANY_TURNS), 0, "another call of the same kind doesn't end the rest");
    assert.is(bench.endRests(), 1);
    assert.is(inbox.handled, 1);
    assert.is(await pollsIn(inbox, MANY_TURNS), 1, "after something was handled it looks at once, and rests again");
    inbox.arrived = 1;
    inbox.rest = 0;
    bench.reactor.expect();
    await handled(inbox, 2);
    bench.endRests();
    assert.is(await pollsIn(inbox, MANY_TURNS), 0, "nothing is expected");
  });
});

test("it doesn't rest while another source expects what must not lie", () => {
  const patient = new PatientInbox(0, 1);
  const other = new Inbox(Infinity, 0);
  return withReactor([patient, other], async (bench) => {
    bench.reactor.expect();
    await turns(MANY_TURNS);
    assert.is(await pollsIn(other, MANY_TURNS), 0, "it rests");
    other.expected = 1;
    bench.reactor.expect();
    assert.ok((await pollsIn(other, MANY_TURNS)) > 1, "it polls");
    other.arrived = 1;
    await handled(other, 1);
    await turns(MANY_TURNS);
    assert.is(await pollsIn(other, MANY_TURNS), 0, "it rests again");
    patient.arrived = 1;
    assert.is(bench.endRests(), 1);
    assert.is(patient.handled, 1);
  });
});

test("a rest that was left has no second timer", () => {
  const inbox = new PatientInbox(0, 1);
  return withReactor([inbox], async (bench) => {
    for (let round = 0; round < 5; round += 1) {
      bench.reactor.expect();
      await turns(MANY_TURNS);
      inbox.expected = 0;
      bench.reactor.check();
      inbox.expected = 1;
    }
    bench.reactor.expect();
    await turns(MANY_TURNS);
    inbox.arrived = 1;
    assert.is(bench.endRests(), 1);
    assert.is(inbox.handled, 1);
  });
});

test("a source that is removed isn't polled any more, and the others are", () => {
  const gone = new Inbox(0, 10);
  const kept = new Inbox(0, 1);
  return withReactor([gone, kept], async (bench) => {
    bench.reactor.expect();
    await asleep(bench);
    bench.reactor.remove(gone);
    assert.ok(bench.keepsAlive(), "the other one still expects something");
    const { polls } = gone;
    kept.arrived = 1;
    gone.arrived = 1;
    assert.ok(bench.unpark());
    await handled(kept, 1);
    assert.is(gone.polls, polls);
    bench.reactor.remove(gone);
  });
});

test("without the last source that expected something the reactor rests", () => {
  const inbox = new Inbox(0, 1);
  const other = new Inbox(0, 0);
  return withReactor([inbox, other], async (bench) => {
    bench.reactor.expect();
    await asleep(bench);
    bench.reactor.remove(inbox);
    assert.is(bench.park(), AWAKE);
    assert.not(bench.keepsAlive());
    const { polls } = other;
    await turns(MANY_TURNS);
    assert.is(other.polls, polls);
  });
});

test("a source may be added again after all were removed", () => {
  const inbox = new Inbox(0, 1);
  return withReactor([inbox], async (bench) => {
    bench.reactor.expect();
    await asleep(bench);
    bench.reactor.remove(inbox);
    bench.reactor.add(inbox);
    bench.reactor.expect();
    await asleep(bench);
    assert.is(bench.timers(), 2, "the first safety net went with the last source");
    assert.ok(bench.keepsAlive());
    inbox.arrived = 1;
    assert.ok(bench.unpark());
    await handled(inbox, 1);
  });
});

for (const pollMs of [0, 0.02]) {
  test(`another thread wakes the reactor 3,000 times by bells alone, with ${pollMs} ms of polling`, () => {
    const rounds = 3000;
    const shared = new Int32Array(new SharedArrayBuffer(8));
    let seen = 0;
    const source: Source = {
      pollMs,
      poll: () => {
        const fresh = Atomics.load(shared, 0) - seen;
        seen += fresh;
        Atomics.store(shared, 1, seen);
        return fresh;
      },
      // One more than ever comes, so that it sleeps in the end.
      isExpecting: () => seen <= rounds,
    };
    return withReactor([source], async (bench) => {
      bench.reactor.expect();
      const waker: Waker = { threads: bench.words, thread: bench.reactor.thread, words: shared, rounds };
      // The waker gives up with an error when a thing isn't handled: nothing but its bell can have
      // that done.
      const [result] = (await runThreads<WakerResult>("reactor-waker", [waker])) as [WakerResult];
      assert.is(seen, rounds);
      assert.ok(result.woken > 0, "some found it asleep");
      await asleep(bench);
      bench.tick();
      assert.is(bench.reactor.wakeupsMissed, 0);
    });
  });
}

/**
 * Runs fixtures/reactor-process.ts until it ends; with code 1 when it has been kept alive for ever.
 */
function runProcess(mode: string): Promise<{ lines: string[]; code: number | null }> {
  const file = fileURLToPath(new URL("../fixtures/reactor-process.js", import.meta.url));
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [file, mode], { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.on("error", reject);
    child.on("close", (code) => resolve({ lines: output.trimEnd().split("\n"), code }));
  });
}

test("a process stays while its reactor expects something, and ends afterwards", async () => {
  assert.equal(await runProcess("arrives"), { lines: ["handled", "handled", "exit 2 missed 0"], code: 0 });
});

test("a process ends when the source that expected something is removed", async () => {
  assert.equal(await runProcess("removed"), { lines: ["exit 0 missed 0"], code: 0 });
});

test("a reactor that expects nothing keeps no process alive", async () => {
  assert.equal(await runProcess("nothing"), { lines: ["exit 0 missed 0"], code: 0 });
});

test("a bell that never rings keeps no process alive", async () => {
  assert.equal(await runProcess("listen"), { lines: ["object"], code: 0 });
});

test.run();
