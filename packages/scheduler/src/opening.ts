/**
 * Allocates the memory of a scheduler and starts its machines. When that fails, nothing is left
 * behind.
 */
import { Reactor, ThreadTable } from "@millrace/atomics-sync";
import { Mail } from "./calls/mail.ts";
import { moduleUrl } from "./handler/handlers.ts";
import type { ResolvedSchedulerOptions } from "./options.ts";
import { allocateMemory, RUN_QUEUE_CAPACITY, type SchedulerMemory } from "./shared/layout.ts";
import { allocateTraceRings, type TraceRings } from "./shared/trace-ring.ts";
import { describeDeath } from "./supervisor/death.ts";
import { tellingDeaths } from "./supervisor/death-channel.ts";
import { type MachineDeath, Supervisor } from "./supervisor/supervisor.ts";

/** A scheduler whose machines have loaded the handlers. */
export interface SchedulerParts {
  readonly memory: SchedulerMemory;
  readonly supervisor: Supervisor;
  readonly handlerNames: readonly string[];
  readonly options: ResolvedSchedulerOptions;
  readonly trace: TraceRings | undefined;
  readonly mail: Mail;
}

/** Rejects with `ERR_HANDLER_MODULE` or `ERR_THREAD_FILE`. */
export async function openMachines(options: ResolvedSchedulerOptions): Promise<SchedulerParts> {
  const machines = options.machinesMax;
  const threads = ThreadTable.current();
  const submitterThreads = [Reactor.current().thread, ...options.guests];
  const memory = allocateMemory(
    {
      processors: options.processors,
      machines,
      outsiders: submitterThreads.length,
      slotsEach: options.tasksMax,
      nestedSlots: options.nestedTasksMax,
      runQueueCapacity: RUN_QUEUE_CAPACITY,
    },
    options.arenaBytesMax,
    threads.buffer,
    Array.from({ length: machines }, () => threads.reserve()),
    submitterThreads,
  );
  const trace =
    options.trace === 0 ? undefined : allocateTraceRings(machines, submitterThreads.length + machines, options.trace);
  const mail = new Mail();
  const supervisor = new Supervisor(
    memory,
    {
      handlersUrl: moduleUrl(options.handlers),
      headerReaderUrl: options.headerReader?.href,
      asyncTasksMax: options.asyncTasksPerMachine,
      spinMs: options.spinMicroseconds / 1000,
      startTimeoutMs: options.startTimeoutMs,
      teardownTimeoutMs: options.teardownTimeoutMs,
      resourceLimits: options.resourceLimits,
      trace,
    },
    {
      machineDied: tellingDeaths(options.onMachineDeath ?? warnOfDeath),
      parcelFor: (ticket) => mail.parcelFor(ticket),
      parcelFrom: (machine, ticket, value) => mail.arrived(machine, ticket, value),
      asked: async (value) => await options.onAsk?.(value),
    },
  );
  // Before any machine: it gets every region that one makes.
  supervisor.shared.arenas.join(true);
  const handlerNames = await startOrRelease(supervisor, memory);
  return { memory, supervisor, handlerNames, options, trace, mail };
}

/** Where nobody listens to `onMachineDeath`. */
function warnOfDeath(death: MachineDeath): void {
  const { machine, error, failed, requeued } = death;
  process.emitWarning(
    `worker thread ${machine} ended: ${describeDeath(death)}; ${failed} of its tasks failed, ${requeued} run again`,
    {
      type: "MillraceWarning",
      code: "MILLRACE_MACHINE_DIED",
      ...(error.stack === undefined ? {} : { detail: error.stack }),
    },
  );
}

async function startOrRelease(supervisor: Supervisor, memory: SchedulerMemory): Promise<readonly string[]> {
  try {
    return await supervisor.start();
  } catch (thrown) {
    supervisor.shared.arenas.leave();
    releaseMachineThreads(memory);
    throw thrown;
  }
}

/** Lets other runtimes of the process have the numbers of the threads. */
export function releaseMachineThreads(memory: SchedulerMemory): void {
  for (const thread of memory.machineThreads) ThreadTable.current().release(thread);
}
