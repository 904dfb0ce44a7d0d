/**
 * Bugs that an intake can have, as edits of its compiled modules. The simulation must notice each.
 */
export interface SeededBug {
  readonly name: string;
  /** Below packages/intake/dist. */
  readonly file: string;
  /** Occurs exactly once in the file. */
  readonly from: string;
  readonly to: string;
  /** Of a bug that few schedules show: from this one on they are tried. Default 1. */
  readonly firstSeed?: number;
}

const SCHEDULES = "delivery/schedules.js";
const STATES = "states/record-states.js";
const VISITS = "delivery/visits.js";
const STATE_LOG = "delivery/state-log.js";
const KEYS = "states/keys.js";
const SUSPECTS = "delivery/suspects.js";

export const INTAKE_BUGS: readonly SeededBug[] = [
  {
    name: "an end waits for room, and the ACK that follows from it doesn't",
    file: STATE_LOG,
    from: "if (this.#waiting.length === 0) {",
    to: "{",
  },
  {
    name: "a recorded end holds its segment",
    file: STATES,
    from: "decodeAttempt(record.payload());",
    to: "this.droppable.remove(record.sequence);",
  },
  {
    name: "a recorded end names where its record lies",
    file: "delivery/recorder.js",
    from: "origin: job.origin, handler: name",
    to: "origin: this.#parts.states.placeOf(job.origin), handler: name",
  },
  {
    name: "the end that a record dies of isn't its last one",
    file: "delivery/outcomes.js",
    from: 'ranMs, isLast: decision.kind === "dead" }',
    to: "ranMs, isLast: false }",
  },
  {
    name: "of a record that fails again the first end alone is recorded",
    file: "delivery/recorder.js",
    from: 'isLast }) {\n        if (gate.terms.record !== "outcomes")',
    to: 'isLast }) {\n        if (gate.terms.record !== "outcomes" || job.attempts > 0)',
  },
  {
    name: "a segment that is to be kept for a while is given up",
    file: "delivery/kept-segments.js",
    from: "> oldest)",
    to: "> Infinity)",
  },
  {
    name: "what isn't kept any more is given up, although it is needed",
    file: "delivery/retention.js",
    from: "isNeededFirst ? needed : segments[kept].baseSequence",
    to: "segments[kept].baseSequence",
  },
  {
    name: "a process that has abandoned its handlers never says that it has ended",
    file: "delivery/hands.js",
    from: "hand.until = Infinity;\n        this.#abandoned += 1;",
    to: "hand.until = Infinity;",
  },
  {
    name: "a record that is taken back from the queue counts as abandoned",
    file: "delivery/delivery.js",
    from: "this.#hands.takeBack(slot)",
    to: "slot",
  },
  {
    name: "a process that has abandoned its handlers forgets those in quarantine",
    file: "delivery/quarantined.js",
    from: "this.#jobs.clear();",
    to: "",
  },
  {
    name: "an ACK settles the first place of each range alone",
    file: STATES,
    from: "this.settled.addRange(first, last);\n            this.droppable",
    to: "this.settled.add(first);\n            this.droppable",
  },
  {
    name: "a DEAD record that is read leaves its record unsettled",
    file: STATES,
    from: "this.settled.add(this.placeOf(origin));\n        const header",
    to: "const header",
  },
  {
    name: "a redriven record stays settled",
    file: STATES,
    from: "this.settled.remove(this.placeOf(origin));",
    to: "",
  },
  {
    name: "a letter is redriven as often as it is asked for",
    file: STATES,
    from: "return [...new Set(origins)].filter((origin) => this.#isMeant(origin, lastDeath));",
    to: "return [...new Set(origins)];",
  },
  {
    name: "a command about letters is about those that died after it too",
    file: STATES,
    from: "if (lastDeath === 0)",
    to: "if (lastDeath >= 0)",
  },
  {
    name: "a copy of a DEAD record is another death",
    file: STATES,
    from: "known?.death ?? place",
    to: "place",
  },
  {
    name: "a snapshot forgets how often records were redriven",
    file: "snapshot/sections.js",
    from: "redrivenSection,\n",
    to: "\n",
  },
  {
    name: "letters on their way take no room among the dead letters",
    file: "delivery/deaths.js",
    from: "this.#states.dead.bytes + this.#dyingBytes",
    to: "this.#states.dead.bytes",
  },
  {
    name: "a record that waits for room among the dead letters is tried again after a restart",
    file: "delivery/opening.js",
    from: "if (retry.dueMs === Infinity)",
    to: "if (retry.dueMs === Infinity && wall < 0)",
  },
  {
    name: "a letter that is gone takes room still",
    file: "states/dead-table.js",
    from: "this.#rows.delete(origin);\n        this.#bytesSum -= this.#bytes[row];",
    to: "this.#rows.delete(origin);",
  },
  {
    name: "a drop that comes after a redrive ends the record",
    file: STATES,
    from: "if (kind === DROPPED)\n            return origins.filter((origin) => this.#isMeant(origin, lastDeath));",
    to: "if (kind === DROPPED)\n            return origins;",
  },
  {
    name: "an older RETRY record stays needed",
    file: STATES,
    from: "if (known !== undefined)\n            this.droppable.add(known.place);",
    to: "if (known !== undefined)\n            this.droppable.add(place);",
  },
  {
    name: "a needed RETRY record is given up",
    file: STATES,
    from: "this.retries.set(origin, { attempts, dueMs: atMs, pauseMs:",
    to: "this.droppable.add(place); this.retries.set(origin, { attempts, dueMs: atMs, pauseMs:",
  },
  {
    name: "a duplicate is delivered",
    file: VISITS,
    from: 'else if (verdict.kind === "first")',
    to: "else if (true)",
  },
  {
    name: "a producer's sequence isn't remembered",
    file: STATES,
    from: "known.add(producer.sequence, producer.payloadCrc);",
    to: "",
  },
  {
    name: "a producer that was dropped is remembered",
    file: STATES,
    from: "this.producers.delete(control.producer);",
    to: "",
  },
  {
    name: "what a producer's record said isn't remembered",
    file: "states/producer-state.js",
    from: "this.content.add(sequence, payloadCrc);",
    to: ";",
  },
  {
    name: "a snapshot forgets what producers said",
    file: "snapshot/producers-section.js",
    from: "new ContentSums(shift, sums)",
    to: "new ContentSums()",
  },
  {
    name: "a snapshot forgets the producers",
    file: "snapshot/producers-section.js",
    from: "producers.set(id, known);",
    to: "",
  },
  {
    name: "a snapshot forgets the retries",
    file: "snapshot/retries-section.js",
    from: "retries.set(origin, { place, attempts, dueMs, pauseMs, ageMs });",
    to: "",
  },
  {
    name: "a snapshot forgets how long a pause is",
    file: "snapshot/retries-section.js",
    from: "retries.set(origin, { place, attempts, dueMs, pauseMs, ageMs });",
    to: "retries.set(origin, { place, attempts, dueMs, pauseMs: 0, ageMs });",
  },
  {
    name: "a failure that the log doesn't know yet is forgotten with its job",
    file: "delivery/jobs.js",
    from: "this.#failedAttempts.of(origin) ?? written",
    to: "written",
  },
  {
    name: "a failure that the disk had no room for is never written",
    file: "delivery/failed-attempts.js",
    from: "this.#unwritten.add(origin);",
    to: ";",
  },
  {
    name: "one whose time was over in quarantine runs beside others",
    file: "delivery/outcomes.js",
    from: "|| isLate",
    to: "",
  },
  {
    name: "a snapshot forgets the keys of the window that no WINDOW record has",
    file: "snapshot/window-section.js",
    from: "window.decode(bytes.subarray(end));",
    to: "",
  },
  {
    name: "a record that is finished where it was published is remembered as redriven",
    file: STATES,
    from: "this.#forgetRedriven(first, last);",
    to: "",
  },
  {
    name: "a snapshot takes WINDOW records in the order in which they were copied",
    file: "snapshot/window-section.js",
    from: "return [...rows].toSorted(([, left], [, right]) => left - right);",
    to: "return [...rows];",
  },
  {
    name: "a WINDOW record is given up while its keys are remembered",
    file: STATES,
    from: "this.windowChunks.set(sequence, lastOriginOf(entries));",
    to: "this.droppable.add(sequence);",
  },
  {
    name: "a snapshot forgets where copies are",
    file: "snapshot/places-section.js",
    from: "for (const [origin, place] of decodeRows(bytes, 2)) {",
    to: "for (const [origin, place] of []) {",
  },
  {
    name: "a snapshot forgets the handlers that are paused",
    file: "snapshot/paused-section.js",
    from: "paused.add(name);",
    to: ";",
  },
  {
    name: "a snapshot forgets what the last process may have had in hand",
    file: "snapshot/endings-section.js",
    from: "suspects: new Map(suspects)",
    to: "suspects: new Map()",
  },
  {
    name: "a snapshot leaves the last section out",
    file: "snapshot/snapshot.js",
    from: "of SECTIONS) {\n        const bytes",
    to: "of SECTIONS.slice(0, -1)) {\n        const bytes",
  },
  {
    name: "a clock that is set makes every key older",
    file: "states/dedupe-window.js",
    from: "idempotency.steadyMs ?? timeMs",
    to: "timeMs",
  },
  {
    name: "the newest key leaves the window first",
    file: "states/dedupe-window.js",
    from: "this.#unlink(at);\n            this.#start += 1;",
    to: "this.#unlink((this.#end - 1) & (this.#capacity - 1));\n            this.#start += 1;",
  },
  {
    name: "two records of one key are in hand together",
    file: KEYS,
    from: "if (line.holder === origin)\n            return !line.isRunning;",
    to: "return true;",
  },
  {
    name: "the key isn't given to the next one",
    file: "delivery/key-lines.js",
    from: "if (next !== undefined)\n            this.#turns.makeReady(this.#turns.laneOf(handler, priority), next);",
    to: "",
  },
  {
    name: "a record that expires in line stays there",
    file: KEYS,
    from: "if (line.holder !== origin) {\n            this.#leave(line, origin);\n            return undefined;\n        }",
    to: "if (line.holder !== origin) return undefined;",
  },
  {
    name: "after a crash records that wait for their retry don't hold their keys",
    file: "delivery/opening.js",
    from: "takeKeysAgain(parts);\n    const wall",
    to: "const wall",
  },
  {
    name: "a retry that is due is forgotten after a crash",
    file: "delivery/opening.js",
    from: "returns.in(leftMs, origin);",
    to: ";",
  },
  {
    name: "a lane delivers what waits for its retry as well",
    file: "delivery/turns.js",
    from: "if (states.settled.has(sequence) || states.retries.has(sequence))",
    to: "if (states.settled.has(sequence))",
  },
  {
    name: "a lane delivers suspects as well as their group",
    file: "delivery/turns.js",
    from: "if (suspects.has(sequence))\n            return false;",
    to: "",
  },
  {
    name: "a record that is finished while it is copied is acknowledged at its old place alone",
    file: "delivery/ends.js",
    from: "if (this.#copying.has(origin))\n            this.#finishedInCopy.set(origin, { records, onWay });\n        else\n            this.#acknowledge",
    to: "this.#acknowledge",
  },
  {
    name: "a delay isn't waited for",
    file: "delivery/hand-out.js",
    from: "if (notBeforeMs !== undefined && wall < notBeforeMs) {",
    to: "if (false) {",
  },
  {
    name: "a suspect that was never tried gets no turn",
    file: SUSPECTS,
    from: "group.splice(index, 1);",
    to: "group.splice(0);",
  },
  {
    name: "a group of suspects waits for a handler that isn't there",
    file: "delivery/life.js",
    from: "handler !== undefined && !gates.isRunnable(handler)",
    to: "false",
  },
  {
    name: "a lane that falls behind passes over the record that it had no room for",
    file: "delivery/lane.js",
    from: "this.#behindFrom = record.sequence;\n            this.#ahead = 1;",
    to: "this.#behindFrom = record.sequence + 1;\n            this.#ahead = 1;",
  },
  {
    name: "a lane that was set apart begins where the other one will be later",
    file: "delivery/lane.js",
    from: "lane.#behindFrom = this.#behindFrom;",
    to: "",
  },
  {
    name: "a due time that a crash has interrupted is lost",
    file: SCHEDULES,
    from: "return Math.max(lastDueMs, Math.min(sinceMs, this.#wallMs));",
    to: "return this.#wallMs;",
  },
  {
    name: "a due time is published again after a crash",
    file: "states/schedule-states.js",
    from: "lastDueMs: dueMs, missed: known.missed + missed",
    to: "missed: known.missed + missed",
  },
  {
    name: "a removed schedule publishes again after a restart",
    file: "states/schedule-states.js",
    from: "this.#schedules.delete(name);",
    to: "",
  },
  {
    name: "a schedule publishes while its removal is on its way",
    file: SCHEDULES,
    from: "if (entry.nextMs > wallMs || this.#changing.has(name))",
    to: "if (entry.nextMs > wallMs)",
  },
  {
    name: "a snapshot forgets the schedules",
    file: "snapshot/schedules-section.js",
    from: "schedules.restore(decode(bytes))",
    to: "undefined",
  },
  {
    name: "a schedule with other times makes up what it missed before",
    file: "states/schedule-states.js",
    from: "haveSameTimes(known.definition, definition) ? known.sinceMs : atMs",
    to: "true ? known.sinceMs : atMs",
  },
  {
    name: "a due time is done although the ring had no room for its record",
    file: SCHEDULES,
    from: "if (staged === dueTimes.length) {",
    to: "if (true) {",
  },
  {
    name: "what a handler has published is durable before the ACK",
    file: STATE_LOG,
    from: "this.#log.stage(record, true)",
    to: "this.#log.stage(record, false)",
  },
  {
    name: "a part of a group that found no room is written",
    file: STATE_LOG,
    from: "this.#log.rollback();",
    to: "",
  },
  {
    name: "an ACK is written without what its handler has published",
    file: "delivery/ends.js",
    from: "this.#stateLog.finishedWith(place, records, onWay);",
    to: "(this.#stateLog.finished(place), onWay());",
  },
  {
    name: "a record that is finished while it is copied publishes nothing",
    file: "delivery/ends.js",
    from: "this.#acknowledge(origin, place, finish);",
    to: "this.#acknowledge(origin, place, { ...finish, records: [] });",
  },
  {
    name: "what an attempt publishes after its time counts",
    file: "delivery/hands.js",
    from: "if (!isAbandoned)\n            return job;",
    to: "return job;",
  },
  {
    name: "an attempt that no machine has begun is given up when its time would be over",
    file: "delivery/hands.js",
    from: "if (leftMs > 0) {",
    to: "if (false) {",
  },
  {
    name: "a record whose group waits gets another turn",
    file: STATE_LOG,
    from: "this.#toAck.has(place) || this.#grouped.has(place) ||",
    to: "this.#toAck.has(place) ||",
  },
  {
    name: "a key that belongs to another payload refuses all that a handler has published",
    file: "states/groups.js",
    from: "if (members.some(({ type }) => type === RECORD_TYPE.ack))\n            return OUTCOME;",
    to: "",
  },
  {
    name: "the others of a publisher's group are handled although one is refused",
    file: "states/groups.js",
    from: "? REFUSED : ALONE",
    to: "? ALONE : ALONE",
  },
  {
    name: "a reading of the log doesn't know which records are a group",
    file: "snapshot/read-states.js",
    from: "void states.read(member, group)",
    to: "void states.read(member)",
  },
  {
    name: "a snapshot forgets the results",
    file: "snapshot/results-section.js",
    from: "results.keep(origin, { place, untilMs }, 0);",
    to: "",
  },
  {
    name: "a result that is kept is given up with its segment",
    file: "states/results.js",
    from: "this.#kept.set(origin, { place, untilMs });",
    to: "this.#kept.set(origin, { place, untilMs }); this.#forgotten(place);",
  },
  {
    name: "a result isn't found where it was copied to",
    file: STATES,
    from: "this.results.keep(origin, { place, untilMs }, replaces);",
    to: "if (replaces === 0) this.results.keep(origin, { place, untilMs }, 0);",
  },
  {
    name: "a result holds its segment after its time",
    file: "states/results.js",
    from: "this.#kept.delete(origin);\n        this.#forgotten(known.place);",
    to: "this.#kept.delete(origin);",
  },
  {
    name: "an ACK is written without the result that is kept",
    file: "delivery/outcomes.js",
    from: "if (outcome?.result !== undefined &&",
    to: "if (false &&",
  },
  {
    name: "the last wait of a run on the disk is forgotten",
    file: "states/wait-runs.js",
    from: "if (run.next === run.count)",
    to: "if (run.next >= run.count - 1)",
  },
  {
    name: "the earlier half of what waits goes to the disk twice, and the later one nowhere",
    file: "states/waits.js",
    from: "runs.write(pairsOf(due, origins, kept));",
    to: "runs.write(pairsOf(due, origins, 0).subarray(0, 2 * (due.length - kept)));",
  },
  {
    name: "what waits is let go of although the disk took nothing",
    file: "states/waits.js",
    from: "this.#limit = this.#size * 2;\n            return;",
    to: "",
  },
  {
    name: "the bytes that may be kept are counted from the front",
    file: "delivery/kept-segments.js",
    from: "return Math.min(index + 1, segments.length - 1);",
    to: "return segments.length - 1;",
  },
  {
    name: "a copy of a record whose turn hasn't come is lost",
    file: VISITS,
    from: "keyLines.enter(jobOf(record, handler));\n        turns.makeReady(lane, origin);",
    to: "",
  },
  {
    name: "a copy of a record that its lane has found in the log is handed out beside it",
    file: VISITS,
    from: "lane.moved(replaces);",
    to: "",
  },
  {
    name: "a suspect runs without its group when its key is free",
    file: "delivery/hand-out.js",
    from: 'if (!suspects.mayRun(job.origin))\n            return "taken";',
    to: "",
  },
  {
    name: "a suspect whose key isn't free counts as one that came back",
    file: "delivery/hand-out.js",
    from: 'suspects.waits(job.origin);\n            return "taken";\n        }\n        if (!suspects',
    to: 'suspects.survived(job.origin);\n            return "taken";\n        }\n        if (!suspects',
  },
  {
    name: "a record that ended a process of its own comes back as any other",
    file: "delivery/outcomes.js",
    from: "suspects.waits(job.origin);",
    to: "suspects.survived(job.origin);",
  },
  {
    name: "a close in order clears suspects",
    file: STATES,
    from: "this.endings.isOpen = false;",
    to: "this.endings.isOpen = false; this.endings.suspects.clear();",
  },
  {
    name: "a process that dies while it names its suspects forgets them",
    file: STATES,
    from: "this.endings.named.clear();",
    to: "this.endings.named.clear(); this.endings.suspects.clear();",
  },
  {
    name: "a suspect that expires holds its group",
    file: "delivery/outcomes.js",
    from: "ends.began(job.origin);\n        suspects.survived(job.origin);",
    to: "ends.began(job.origin);",
  },
  {
    name: "results age by a clock that was set ahead",
    file: STATE_LOG,
    from: "timeMs = this.#steady.nowMs()",
    to: "timeMs = this.#clock.wall()",
  },
  {
    name: "results age by the times of published records",
    file: STATES,
    from: "if (type === RECORD_TYPE.ack || type === RECORD_TYPE.result)",
    to: "",
  },
  {
    name: "after an end in order suspects come before earlier records of their keys",
    file: "delivery/suspects.js",
    from: "comeInTurn ? [] : this.#ends.keys()",
    to: "this.#ends.keys()",
  },
  {
    name: "a WINDOW record is given up that the checkpoint before the newest names",
    file: "delivery/housekeeping.js",
    from: "this.#checkpointBefore = Math.min(before, this.#windowFrom);",
    to: "this.#checkpointBefore = before;",
    firstSeed: 900,
  },
];
