// Runs schedules of the simulation: `node simulate.js FIRST_SEED SCHEDULES`. Exits 1 at the first
// broken promise.
import { Simulation } from "./simulation.ts";

const STEPS = 400;
const [first = 1, schedules = 1] = process.argv.slice(2).map(Number);
let seed = first;
try {
  for (; seed < first + schedules; seed += 1) {
    const simulation = new Simulation(seed);
    for (let step = 0; step < STEPS; step += 1) simulation.step();
    simulation.settle();
  }
} catch (thrown) {
  console.log(`seed ${seed}: ${(thrown as Error).message}`);
  process.exitCode = 1;
}
