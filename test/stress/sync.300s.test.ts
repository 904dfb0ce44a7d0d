// More threads than processors use the locks at random, and now and then one is terminated,
// wherever it is. MILLRACE_STRESS_SECONDS says how long each test goes on; MILLRACE_SEED repeats
// the choices of a run, though not its timing.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Barrier, Cond, Mutex, RWMutex, Semaphore, WaitGroup } from "@millrace/atomics-sync";
import { isMillraceError } from "@millrace/base";
import { background, type Scope, withCancel } from "@millrace/context";
import { DONE, LASTS, MUTEX_OWNER, PASSES, ROUNDS, VIOLATIONS, xorshift } from "../fixtures/sync-random.ts";
import { until } from "../support.ts";
import { Crew, END_MS, SEED } from "./crew.ts";

test("threads die at random, and no lock is lost, held by two, or slept for in vain", async () => {
  const words = new Int32Array(new SharedArrayBuffer(64));
  const mutex = new Mutex();
  const lock = new RWMutex();
  const semaphore = new Semaphore(4);
  const crew = new Crew({ kind: "locks", handles: [mutex.handle, lock.handle, semaphore.handle], words });
  const pauses = xorshift(SEED + 1);
  while (!crew.isOver) {
    // In the midst of work, however slow the machine is.
    await crew.workOn(1 + pauses(1000));
    await crew.killOne();
    // This thread takes part as well, and clears away what the dead one may have left.
    const hold = await mutex.lockAsync();
    if (hold.isRecovered) Atomics.store(words, MUTEX_OWNER, 0);
    hold.unlock();
    (await lock.readLockAsync()).unlock();
    (await semaphore.acquireAsync(4)).release();
  }
  await crew.stop();
  assert.is(words[VIOLATIONS], 0, `seed ${SEED}`);
  (await mutex.lockAsync()).unlock();
  (await lock.lockAsync()).unlock();
  (await semaphore.acquireAsync(4)).release();
  await until(() => semaphore.available === 4, "all permits are back");
  mutex.close();
  lock.close();
  semaphore.close();
  console.log(`# locks: ${words[ROUNDS]} rounds, ${crew.kills} threads terminated, seed ${SEED}`);
});

test("threads with claims die at random, and every unit is done or abandoned", async () => {
  const words = new Int32Array(new SharedArrayBuffer(64));
  const group = new WaitGroup();
  const crew = new Crew({ kind: "claims", handles: [group.handle], words });
  const pauses = xorshift(SEED + 2);
  let added = 0;
  let abandoned = 0;
  while (!crew.isOver) {
    const units = 1 + pauses(2000);
    added += units;
    group.add(units);
    const waiting = group.waitAsync();
    const rounds = (words[ROUNDS] as number) + pauses(units);
    await until(() => Atomics.load(words, ROUNDS) >= rounds || group.count === 0, "the threads work", END_MS);
    await crew.killOne();
    const result = await waiting;
    abandoned += result.abandoned;
  }
  await crew.stop();
  const last = await group.waitAsync();
  abandoned += last.abandoned;
  const finished = (words[DONE] as number) + abandoned;
  // A thread that dies after it has counted a unit, and before the unit is done, counts twice.
  assert.ok(
    finished >= added && finished <= added + crew.kills,
    `${added} units, ${words[DONE]} done, ${abandoned} abandoned, seed ${SEED}`,
  );
  assert.is(group.count, 0);
  group.close();
  console.log(`# claims: ${added} units, ${abandoned} abandoned, ${crew.kills} threads terminated, seed ${SEED}`);
});

test("threads die at random at conditions and barriers, and the others go on", async () => {
  const words = new Int32Array(new SharedArrayBuffer(64));
  const mutex = new Mutex();
  const cond = new Cond(mutex);
  const barrier = new Barrier(3);
  const crew = new Crew({ kind: "meetings", handles: [mutex.handle, cond.handle, barrier.handle], words });
  const pauses = xorshift(SEED + 3);
  while (!crew.isOver) {
    await crew.workOn(1 + pauses(200));
    await crew.killOne();
    cond.broadcast();
  }
  await crew.stop();
  assert.is(words[VIOLATIONS], 0, `seed ${SEED}`);
  // One of three comes last. A thread that is terminated behind the barrier isn't counted.
  const missing = 3 * (words[LASTS] as number) - (words[PASSES] as number);
  assert.ok(Math.abs(missing) <= 3 * crew.kills, `${words[LASTS]} rounds, ${words[PASSES]} parties, seed ${SEED}`);
  assert.ok((words[LASTS] as number) > 0, "rounds were completed");
  cond.close();
  barrier.close();
  (await mutex.lockAsync()).unlock();
  mutex.close();
  console.log(
    `# meetings: ${words[ROUNDS]} rounds, ${words[LASTS]} at the barrier, ${crew.kills} threads terminated, seed ${SEED}`,
  );
});

/** Number of contexts that can still be made. */
function freeContexts(): number {
  const scopes: Scope[] = [];
  try {
    for (;;) scopes.push(withCancel(background()));
  } catch (thrown) {
    if (!isMillraceError(thrown, "ERR_SYNC_SPACE_FULL")) throw thrown;
  }
  for (const scope of scopes) scope.close();
  return scopes.length;
}

test("threads die at random with contexts open, and all contexts are over", async () => {
  const words = new Int32Array(new SharedArrayBuffer(64));
  const before = freeContexts();
  const root = withCancel(background());
  const crew = new Crew({ kind: "contexts", handles: [root.handle], words });
  const pauses = xorshift(SEED + 4);
  while (!crew.isOver) {
    await crew.workOn(1 + pauses(500));
    await crew.killOne();
  }
  const stopped = crew.stop();
  // Each thread ends in a wait for a context below this one.
  root.cancel();
  await stopped;
  assert.is(words[VIOLATIONS], 0, `seed ${SEED}`);
  root.close();
  assert.is(freeContexts(), before, `seed ${SEED}`);
  console.log(`# contexts: ${words[ROUNDS]} rounds, ${crew.kills} threads terminated, seed ${SEED}`);
});

test.run();
