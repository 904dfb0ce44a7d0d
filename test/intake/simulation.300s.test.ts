import { test } from "uvu";
import * as assert from "uvu/assert";
import { noCounts } from "./simulation-context.ts";
import { Simulation } from "./simulation.ts";

const SCHEDULES = Number(process.env["MILLRACE_INTAKE_SCHEDULES"] ?? 1000);
const FIRST_SEED = Number(process.env["MILLRACE_INTAKE_SEED"] ?? 1);
const STEPS = 400;

test("the intake keeps its promises in every schedule, whatever crashes when", () => {
  const total = noCounts();
  let groups = 0;
  let results = 0;
  let ends = 0;
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SCHEDULES; seed += 1) {
    const simulation = new Simulation(seed);
    for (let step = 0; step < STEPS; step += 1) simulation.step();
    simulation.settle();
    for (const name of Object.keys(total) as (keyof typeof total)[]) total[name] += simulation.counts[name];
    groups += simulation.produced.groups;
    results += simulation.produced.resultsFound;
    ends += simulation.recorded.found;
  }
  console.log(`# intake schedules ${SCHEDULES}, crashes ${total.crashes}`);
  console.log(
    `# ${total.records} records, ${total.runs} runs, ${total.redriven} redriven, ${total.quarantined} in quarantine, ` +
      `${total.kills} processes ended by records, ` +
      `${total.scheduled} of schedules`,
  );
  console.log(
    `# ${total.checkpoints} checkpoints, ${total.truncations} truncations, ${total.checkpointsLost} checkpoints lost`,
  );
  console.log(`# ${groups} groups of records published with an ACK, ${results} looks at kept results`);
  console.log(`# ${ends} ends of attempts recorded before what follows from them`);
  assert.ok(total.crashes > SCHEDULES && total.truncations > 0 && total.redriven > 0 && total.quarantined > 0);
  assert.ok(total.kills > 0);
  assert.ok(total.checkpointsLost > 0);
  assert.ok(total.scheduled > SCHEDULES);
  assert.ok(groups > SCHEDULES && results > SCHEDULES && ends > SCHEDULES);
});

test.run();
