// kill -9 at random moments, on real files. The kernel keeps what it holds: this test is about
// processes, not about power.
import { test } from "uvu";
import { seededRandom } from "@millrace/base";
import { temporaryDirectory } from "../support.ts";
import { Appender, Ledger } from "./appender.ts";
import { isLong, printedSeed } from "./options.ts";

const random = seededRandom(printedSeed());
const ROUNDS: number = isLong ? 500 : 12;
/** Every so many rounds everything is read. */
const ROUNDS_UNTIL_READ = 4;

test("kill -9 at random moments loses nothing that was acknowledged", async () => {
  const directory = temporaryDirectory();
  const ledger = new Ledger();
  for (let round = 1; round <= ROUNDS; round += 1) {
    const appender = new Appender(directory, round, 128 * 1024, ledger);
    // Now and then at any moment of the start, otherwise while it appends.
    if (random.below(4) > 0) await appender.acknowledges(1 + random.below(400));
    else await new Promise((resolve) => setTimeout(resolve, random.below(300)));
    await appender.kill();
    if (round % ROUNDS_UNTIL_READ === 0) await ledger.reconcile(directory);
  }
  const found = await ledger.reconcile(directory);
  console.log(`# ${ledger.acked.size} acknowledged records among ${found} after ${ROUNDS} kills`);
});

test.run();
