/**
 * `open()`: starts the worker threads for a module of handlers, and with a journal also the intake.
 */
import { callback, type MillraceError, optional, optionsObject, type Rules, withoutContext } from "@millrace/base";
import { Intake, intakeOptions, type IntakeOptions, spanOptions, Spans, spansRule } from "@millrace/intake";
import { Blocking, type BlockingOptions } from "@millrace/pool";
import { type ChromeTrace, type Handler, moduleUrl, resolveWithScheduler, Scheduler } from "@millrace/scheduler";
import { healthOptions, type HealthOptions } from "./health/health.ts";
import type { Millrace, MillraceOptions } from "./millrace.ts";
import { Runtime } from "./runtime.ts";
import { TraceFile, traceOf, traceRequest } from "./trace-file.ts";

const rules = {
  journal: optional(optionsObject<IntakeOptions>()),
  blocking: optional(optionsObject<BlockingOptions>()),
  health: optional(optionsObject<HealthOptions>()),
  spans: spansRule,
  onFailure: optional(callback<(error: MillraceError) => void>()),
} satisfies Rules;

/**
 * Starts a runtime. Throws `ERR_INVALID_OPTION`, `ERR_HANDLER_MODULE`, and with a journal
 * `ERR_JOURNAL_LOCKED`, `ERR_JOURNAL_STORAGE`, `ERR_JOURNAL_DAMAGED`, `ERR_JOURNAL_VERSION`; with
 * spans `ERR_SPANS_UNAVAILABLE`.
 */
export function open<Handlers = Record<string, Handler>>(given: MillraceOptions): Promise<Millrace<Handlers>> {
  return withoutContext(() => openTraced<Handlers>(given));
}

async function openTraced<Handlers>(given: MillraceOptions): Promise<Millrace<Handlers>> {
  const request = traceRequest(process.env);
  if (request === undefined) return await openRuntime<Handlers>(given, undefined);
  const traceFile = new TraceFile(request);
  try {
    return await openRuntime<Handlers>(given, traceFile);
  } catch (thrown) {
    traceFile.drop();
    throw thrown;
  }
}

async function openRuntime<Handlers>(
  given: MillraceOptions,
  traceFile: TraceFile | undefined,
): Promise<Millrace<Handlers>> {
  const {
    journal,
    blocking,
    health,
    spans: givenSpans,
    onFailure = warn,
    ...schedulerOptions
  } = resolveWithScheduler("open", rules, given);
  Blocking.checkOptions(blocking);
  if (journal !== undefined) intakeOptions(journal);
  const healthLimits = healthOptions(health);
  const forSpans = spanOptions(givenSpans);
  const spans = forSpans && (await Spans.load(forSpans));
  const startTimeoutMs = schedulerOptions.startTimeoutMs as number;
  const forScheduler =
    traceFile === undefined
      ? schedulerOptions
      : { ...schedulerOptions, trace: schedulerOptions.trace || traceFile.records };
  const runtime = (scheduler: Scheduler<Handlers>, intake: Intake<Handlers> | undefined): Runtime<Handlers> => {
    // A trace file sets the option.
    traceFile?.begin(() => traceOf(scheduler) as ChromeTrace);
    return new Runtime(
      scheduler,
      new Blocking(moduleUrl(schedulerOptions.handlers), scheduler.handlerNames, blocking, startTimeoutMs),
      intake,
      traceFile,
      healthLimits,
      spans,
    );
  };
  if (journal === undefined) return runtime(await Scheduler.open<Handlers>(forScheduler), undefined);
  const thread = Intake.reserveThread();
  const opening = Scheduler.open<Handlers>({
    ...forScheduler,
    guests: [thread],
    headerReader: Intake.headerReader(spans),
    // Records are delivered before it is open.
    onAsk: async (value): Promise<unknown> => (await intakeOpening).asked(value),
  });
  const guest = opening.then((scheduler) => scheduler.submitterHandle(0));
  const intakeOpening: Promise<Intake<Handlers>> = Intake.open<Handlers>(journal, {
    thread,
    scheduler: guest,
    handlers: { url: moduleUrl(schedulerOptions.handlers), startTimeoutMs },
    onFailure,
    spans,
    // Attempts are given up only while the scheduler runs them.
    endMachine: (machine, ifBlocked) => void opening.then((scheduler) => scheduler.endMachine(machine, ifBlocked)),
  });
  try {
    const intake = await intakeOpening;
    const scheduler = await opening;
    return runtime(scheduler, intake);
  } catch (thrown) {
    await opening.then(
      (scheduler) => scheduler.terminate(),
      () => {},
    );
    Intake.releaseThread(thread);
    throw thrown;
  }
}

function warn(error: MillraceError): void {
  process.emitWarning(error);
}
