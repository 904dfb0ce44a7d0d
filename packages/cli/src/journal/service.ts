/** A running service, as commands ask it through its control socket. */
import { type Asking, ControlClient } from "@millrace/intake";
import { isMillraceError } from "@millrace/base";
import { cliError } from "../errors.ts";

/** Commands that a service answers at once. */
const QUICK: ReadonlySet<string> = new Set([
  "dead.count",
  "dead.export",
  "dead.list",
  "dead.show",
  "health",
  "metrics",
  "stats",
]);
/** A process that is stopped, or whose event loop is blocked, may answer later. */
const PATIENCE_MS = 3000;
/** The connection was reset while the service ended. */
const RESET: ReadonlySet<unknown> = new Set(["ECONNRESET", "EPIPE"]);

const ignore = (): Promise<void> => Promise.resolve();

export class Service {
  readonly #directory: string;
  readonly #client: ControlClient;
  #isClosed = false;

  private constructor(directory: string, client: ControlClient) {
    this.#directory = directory;
    this.#client = client;
  }

  /** Undefined when none runs. Throws `ERR_CONTROL_SOCKET`. */
  static async of(directory: string): Promise<Service | undefined> {
    const client = await ControlClient.connect(directory);
    return client === undefined ? undefined : new Service(directory, client);
  }

  /** Throws the command's error, and `ERR_SERVICE_STOPPED` when the service ends meanwhile. */
  async ask(command: string, options: object, item: Asking["item"] = ignore): Promise<unknown> {
    const tell = (): void => void process.stderr.write("millrace: no answer from the service yet\n");
    const timer = QUICK.has(command) ? setTimeout(tell, PATIENCE_MS) : undefined;
    try {
      return await this.#client.ask(command, options, async (part) => {
        clearTimeout(timer);
        await item(part);
      });
    } catch (thrown) {
      const hasEnded =
        isMillraceError(thrown, "ERR_CONTROL_SOCKET") || RESET.has((thrown as NodeJS.ErrnoException).code);
      if (!hasEnded || this.#isClosed) throw thrown;
      throw cliError("ERR_SERVICE_STOPPED", `the service that had ${this.#directory} open has ended`, {
        cause: thrown,
        details: { directory: this.#directory },
      });
    } finally {
      clearTimeout(timer);
    }
  }

  /** What is asked ends with an error; the service ends it too. */
  close(): void {
    this.#isClosed = true;
    this.#client.close();
  }
}
