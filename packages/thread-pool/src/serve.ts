/**
 * The thread's side of a mailbox: takes tasks from the port, has them worked on, and sends what
 * came of them. `mailbox.ts` has the shape of the memory.
 */
import { type MessagePort, receiveMessageOnPort, type Transferable } from "node:worker_threads";
// The global one is replaced in tests and sandboxes.
import process from "node:process";
import { types } from "node:util";
import { REQUESTS, RESPONSES } from "./mailbox.ts";

/**
 * How a thread without tasks waits. `"sync"`: blocked in `Atomics.wait`, the cheapest; timers and
 * sockets that a task left behind stand still. `"async"`: `Atomics.waitAsync`, the event loop goes
 * on. `"disabled"`: by events of the port alone.
 */
export type Waiting = "sync" | "async" | "disabled";

export interface Response {
  readonly message: unknown;
  readonly transferList?: readonly Transferable[];
}

export interface ServeOptions<Request> {
  readonly port: MessagePort;
  readonly counters: Int32Array;
  readonly waiting: Waiting;
  /** Sent before the first task is taken. */
  readonly ready: unknown;
  /** Works on a task. Never rejects. */
  readonly answer: (request: Request) => Promise<Response>;
  /** The message to send in place of one that can't be cloned, for this reason. */
  readonly uncloneable: (message: unknown, reason: Error) => unknown;
}

/** Output that a task wrote leaves before the thread sleeps, and before its result is known. */
async function flushOutput(): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    if (stream.writableLength > 0) await new Promise<void>((resolve) => stream.write("", () => resolve()));
  }
}

class Server<Request> {
  readonly #options: ServeOptions<Request>;
  /** Tasks that have begun and aren't answered. */
  #running = 0;
  /** Requests that had been sent when the port was last read. */
  #seen = 0;

  constructor(options: ServeOptions<Request>) {
    this.#options = options;
  }

  start(): void {
    const { port, ready } = this.#options;
    this.#post(ready);
    port.on("message", (request: Request) => this.#begin(request));
    if (this.#options.waiting === "async") this.#listen();
    this.#sleep();
  }

  #begin(request: Request): void {
    this.#running++;
    // `#run` never rejects but for faults of our own, which end the thread.
    void this.#run(request);
  }

  async #run(request: Request): Promise<void> {
    const { answer, waiting } = this.#options;
    const response = await answer(request);
    if (waiting === "sync") await flushOutput();
    this.#running--;
    this.#send(response);
    this.#sleep();
  }

  #send({ message, transferList }: Response): void {
    try {
      this.#post(message, transferList);
    } catch (error) {
      this.#post(this.#options.uncloneable(message, error as Error));
    }
  }

  #post(message: unknown, transferList: readonly Transferable[] = []): void {
    const { port, counters } = this.#options;
    port.postMessage(message, transferList);
    Atomics.add(counters, RESPONSES, 1);
  }

  /** Sleeps while there is nothing to do. Called at the start, and when a task is over. */
  #sleep(): void {
    if (this.#options.waiting !== "sync") return;
    while (this.#running === 0) {
      Atomics.wait(this.#options.counters, REQUESTS, this.#seen);
      this.#take();
    }
  }

  /** Takes requests whenever the counter says that there are some. */
  #listen(): void {
    for (;;) {
      const { async, value } = Atomics.waitAsync(this.#options.counters, REQUESTS, this.#seen);
      if (async) {
        void value.then(() => {
          this.#take();
          this.#listen();
        });
        return;
      }
      this.#take();
    }
  }

  #take(): void {
    const { counters, port } = this.#options;
    // Before the port is read: what is sent in between changes the counter again.
    this.#seen = Atomics.load(counters, REQUESTS);
    for (let entry = receiveMessageOnPort(port); entry !== undefined; entry = receiveMessageOnPort(port)) {
      this.#begin(entry.message as Request);
    }
  }
}

/** Works on tasks until the thread is ended. */
export function serve<Request>(options: ServeOptions<Request>): void {
  new Server(options).start();
}

const STANDARD_ERRORS: Readonly<Record<string, ErrorConstructor>> = {
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
};

/** Name, message and stack of an error with members that can't be cloned; undefined of others. */
export function bareError(error: unknown): Error | undefined {
  if (!types.isNativeError(error)) return undefined;
  const bare = new (STANDARD_ERRORS[error.name] ?? Error)(error.message);
  if (error.stack !== undefined) bare.stack = error.stack;
  return bare;
}
