/** The intake that a command is about: one that runs, or a directory that nobody has open. */
import { type Asking, carryOut, openStopped, readStopped, type Stopped } from "@millrace/intake";
import { storageOf } from "../journal/place.ts";
import { Service } from "../journal/service.ts";
import { signals } from "../terminal/signals.ts";

export interface Target {
  readonly isRunning: boolean;
  ask(command: string, options: object, item?: Asking["item"]): Promise<unknown>;
  close(): Promise<void>;
}

const ignore = (): Promise<void> => Promise.resolve();

/** Throws `ERR_JOURNAL_MISSING`, `ERR_JOURNAL_LOCKED`, `ERR_CONTROL_SOCKET`. */
async function targetOf(directory: string, signal: AbortSignal): Promise<Target> {
  storageOf(directory);
  const service = await Service.of(directory);
  if (service !== undefined) {
    // The service ends a command when the client that has sent it is gone.
    signal.addEventListener("abort", () => service.close());
    return {
      isRunning: true,
      ask: (command, options, item) => service.ask(command, options, item),
      close: async () => service.close(),
    };
  }
  let stopped: Stopped | undefined;
  return {
    isRunning: false,
    ask: async (command, options, item = ignore) => {
      const asking = { item, signal };
      if (isReading(command, options)) {
        return await carryOut({ ...nothingElse, dead: readStopped(directory) }, command, options, asking);
      }
      stopped ??= await openStopped(directory);
      return await carryOut(stopped, command, options, asking);
    },
    close: async () => stopped?.close(),
  };
}

const READING: ReadonlySet<string> = new Set(["dead.list", "dead.count", "dead.show", "dead.export"]);

/** Whether a command writes nothing into the directory. */
function isReading(command: string, { dryRun }: { readonly dryRun?: boolean }): boolean {
  return READING.has(command) || (command.startsWith("dead.") && dryRun === true);
}

const refused = (): Promise<never> => Promise.reject(new TypeError("a command about dead letters does nothing else"));
const nothingElse = { pause: refused, resume: refused, replay: refused };

/** Throws as `targetOf` does. */
export async function withTarget(directory: string, body: (target: Target) => Promise<number>): Promise<number> {
  const signal = signals.takeOver();
  const target = await targetOf(directory, signal);
  try {
    return await body(target);
  } catch (thrown) {
    // A user who has pressed Ctrl-C knows why the command ended.
    if (signals.exitCode === undefined) throw thrown;
    return signals.exitCode;
  } finally {
    await target.close();
  }
}
