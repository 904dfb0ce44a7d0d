/** One cell of a benchmark, in a process of its own: prints its measures as JSON. */
import { benchmarks } from "./benchmarks.ts";

const [name, subjectName, caseId, ms, directory] = process.argv.slice(2) as [string, string, string, string, string];
const benchmark = benchmarks.find((each) => each.name === name);
const subject = benchmark?.subjects.find((each) => each.name === subjectName);
if (subject === undefined) throw new Error(`no subject ${subjectName} in ${name}`);
const measures = await subject.run(caseId, Number(ms), directory);
process.stdout.write(JSON.stringify(measures), () => process.exit(0));
