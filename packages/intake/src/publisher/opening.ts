/**
 * Opening an intake: journal, scheduler and delivery thread start side by side, then the parts of
 * the opener are made, each from those above it.
 */
import { type MillraceError, workerUrl } from "@millrace/base";
import { Reactor, ThreadTable } from "@millrace/atomics-sync";
import { Journal } from "@millrace/journal";
import { Quarantine } from "@millrace/pool";
import type { SubmitterHandle } from "@millrace/scheduler";
import { deliveryCounts } from "../delivery/control.ts";
import { Redactor, storeRules } from "../letters/redact.ts";
import { SPANS_PARAMETER } from "../spans/options.ts";
import type { Spans } from "../spans/spans.ts";
import { Admission, mustBeOne, warnUnlessHandler } from "./admission.ts";
import { Checkpoints } from "./checkpoints.ts";
import { DeliveryClient } from "./delivery-client.ts";
import type { Endable } from "./ending.ts";
import { Events } from "./events.ts";
import type { intakeOptions } from "./options.ts";
import { Producers } from "./producers.ts";
import { Publisher } from "./publisher.ts";
import { Questions } from "./questions.ts";
import { type EndMachine, handOn } from "./reports.ts";
import { readResult } from "./results.ts";

/** The module that makes `context.record` of a record's header; it gets the options of spans. */
export function headerReader(spans?: Spans): URL {
  // Not while the module loads: a bundle without the file must get the error from a call.
  const url = workerUrl("../handler/record-hooks", import.meta.url);
  if (spans !== undefined) url.searchParams.set(SPANS_PARAMETER, JSON.stringify(spans.options));
  return url;
}

/** Where an intake works: what its process has opened beside it. */
export interface IntakeSeat {
  /** From `Intake.reserveThread`. */
  readonly thread: number;
  /** The handle of that guest. The journal opens while the scheduler starts. */
  readonly scheduler: Promise<SubmitterHandle>;
  /** The module with the handlers, for records in quarantine, and how long it may take to load. */
  readonly handlers: { readonly url: string; readonly startTimeoutMs: number };
  /** Called when delivery has ended by itself. The intake takes no records any more. */
  readonly onFailure: (error: MillraceError) => void;
  readonly endMachine: EndMachine;
  /** Makes spans, with that option. */
  readonly spans?: Spans | undefined;
}

export interface IntakeParts extends Endable {
  readonly events: Events;
  readonly producers: Producers;
  readonly redactor: Redactor;
}

type ResolvedOptions = ReturnType<typeof intakeOptions>;

/** Resolves when records are delivered. Throws as `Intake.open`. */
export async function openParts(options: ResolvedOptions, seat: IntakeSeat): Promise<IntakeParts> {
  const { forJournal, forDelivery, forControl } = options;
  // Without handlers there is nothing to wait for another process for.
  const giveUp = new AbortController();
  seat.scheduler.catch((reason: unknown) => giveUp.abort(reason));
  const signals = [giveUp.signal, ...(forJournal.lockSignal === undefined ? [] : [forJournal.lockSignal])];
  const opening = Journal.open({ ...forJournal, deliveryThread: seat.thread, lockSignal: AbortSignal.any(signals) });
  const delivery = new DeliveryClient(seat.thread);
  const ready = seat.scheduler.then((handle) => {
    for (const { definition } of forDelivery.schedules ?? []) mustBeOne(handle.handlerNames, definition.handler);
    for (const name of Object.keys(forDelivery.handlers)) warnUnlessHandler(handle.handlerNames, name);
    return handle;
  });
  const [journal, scheduler] = await Promise.allSettled([opening, ready]);
  if (journal.status === "rejected" || scheduler.status === "rejected") {
    await delivery.dismiss();
    if (journal.status === "fulfilled") await journal.value.close();
    throw (journal as PromiseRejectedResult).reason ?? (scheduler as PromiseRejectedResult).reason;
  }
  const parts = connect(journal.value, scheduler.value.handlerNames, delivery, options, seat);
  try {
    if (forJournal.directory !== undefined) storeRules(forJournal.directory, forControl.redact);
    await delivery.begin({
      journal: journal.value.deliveryHandle(),
      scheduler: scheduler.value,
      options: forDelivery,
    });
  } catch (thrown) {
    await delivery.dismiss();
    await journal.value.close().catch(() => {});
    throw thrown;
  }
  return parts;
}

/** Makes the parts. None knows one that is made after it. */
function connect(
  journal: Journal,
  handlerNames: readonly string[],
  delivery: DeliveryClient,
  { forJournal, forPublisher, forControl }: ResolvedOptions,
  { handlers, onFailure, endMachine, spans }: IntakeSeat,
): IntakeParts {
  const cells = deliveryCounts(delivery.cells);
  const admission = new Admission(handlerNames, cells);
  const questions = new Questions(delivery.words, ThreadTable.current().words, delivery.thread, Reactor.current());
  const startMs = Date.now() - performance.now();
  const results = {
    journal,
    steadyMs: () => startMs + performance.now(),
    finished: (sequence: number) => questions.finished(sequence),
    find: (sequence: number) => delivery.command({ kind: "findResult", sequence }),
  };
  questions.readResult = (sequence) => readResult(results, sequence);
  const quarantine = new Quarantine(handlers.url, headerReader(spans), handlers.startTimeoutMs);
  const checkpoints = new Checkpoints(journal, delivery);
  const events = new Events(forJournal.directory);
  const producers = new Producers(
    {
      list: () => delivery.command({ kind: "producers" }),
      drop: (id) => delivery.command({ kind: "dropProducer", id }),
    },
    forPublisher.producersMax,
  );
  const publisher = new Publisher(
    {
      journal,
      questions,
      cells,
      mustBeOpen: () => admission.mustBeOpen(),
      headerOf: (name) => admission.headerOf(name),
      producers,
      levelChanged: (report) => events.emit("level", report),
    },
    forPublisher,
  );
  delivery.onDeath = (error, wasReady) => {
    journal.poison();
    publisher.end(error);
    questions.abandon(error);
    if (wasReady) onFailure(error);
  };
  const redactor = new Redactor(forControl.redact);
  const parts = {
    journal,
    cells,
    delivery,
    publisher,
    questions,
    admission,
    checkpoints,
    quarantine,
    events,
    producers,
    redactor,
  };
  const readers = { ...parts, endMachine };
  delivery.onReport = (report) => handOn(report, readers);
  return parts;
}
