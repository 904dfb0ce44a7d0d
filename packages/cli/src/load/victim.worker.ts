/**
 * The process under test: a runtime that takes records over a Unix socket and answers each when it
 * is durable.
 *
 * The generator starts it as a process of its own, with an IPC channel. It reports when it listens;
 * on "finish" it drains, closes and reports its counts. The generator may kill it at any moment.
 */
import { rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { isMillraceError } from "@millrace/base";
import { type Millrace, open } from "@millrace/runtime";
import { removeInUse } from "../terminal/temporary.ts";
import { encodeAnswer, FrameReader, OUTCOME } from "./protocol.ts";
import type * as handlers from "./victim-handlers.ts";

export type VictimReport =
  | {
      readonly listening: true;
      readonly recoveredRecords: number;
      readonly unfinished: number;
      readonly journalMs: number;
    }
  | { readonly finished: true; readonly done: number; readonly tornBytes: number }
  | { readonly failed: string; readonly code: string | undefined };

const [directory, socketPath, processors, base] = process.argv.slice(2) as [string, string, string, string];
const runName = process.env.MILLRACE_LOAD_RUN as string;

// A signal to the whole process group, such as Ctrl-C, is for the generator: it decides how this
// process ends.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});

/**
 * The channel closes when the generator dies, however it dies: then nothing of the run may stay.
 */
function endWithGenerator(): void {
  try {
    removeInUse(base);
  } finally {
    process.kill(process.pid, "SIGKILL");
  }
}
process.once("disconnect", endWithGenerator);

function report(message: VictimReport): void {
  process.send?.(message);
}

async function run(): Promise<void> {
  const mill = await open<typeof handlers>({
    handlers: new URL("./victim-handlers.js", import.meta.url),
    processors: Number(processors),
    // Without --dir the journal lies in the system's directory for temporary files, which may be
    // memory. A kill leaves that alone.
    journal: { directory, allowUnsafeStorage: true },
  });
  const server = await listen((socket) => serve(mill, socket));
  const recovery = mill.stats().intake?.journal.recovery;
  report({
    listening: true,
    recoveredRecords: recovery?.records ?? 0,
    unfinished: mill.stats().intake?.recovered ?? 0,
    journalMs: recovery?.durationMs ?? 0,
  });
  process.on("message", () => void finish(mill, server).catch(fail));
}

function listen(onConnection: (socket: Socket) => void): Promise<Server> {
  // A killed predecessor has left its socket behind.
  rmSync(socketPath, { force: true });
  return new Promise((resolve, reject) => {
    const server = createServer(onConnection);
    server.once("error", reject);
    server.listen(socketPath, () => resolve(server));
  });
}

/** Sends the answers of one turn of the event loop in one write. */
function serve(mill: Millrace<typeof handlers>, socket: Socket): void {
  let answers: Buffer[] = [];
  const flush = (): void => {
    socket.write(Buffer.concat(answers));
    answers = [];
  };
  const answer = (id: number, outcome: number): void => {
    if (answers.length === 0) setImmediate(flush);
    answers.push(encodeAnswer(id, outcome));
  };
  const reader = new FrameReader((id, payload) => {
    mill.publish.handle({ run: runName, id, payload }).then(
      () => answer(id, OUTCOME.acknowledged),
      (error: unknown) =>
        answer(id, isMillraceError(error, "ERR_JOURNAL_UNCERTAIN") ? OUTCOME.uncertain : OUTCOME.rejected),
    );
  });
  socket.on("data", (chunk) => reader.push(chunk));
  socket.on("error", () => socket.destroy());
}

async function finish(mill: Millrace<typeof handlers>, server: Server): Promise<void> {
  server.close();
  await mill.drain();
  const stats = mill.stats().intake;
  await mill.close();
  report({ finished: true, done: stats?.done ?? 0, tornBytes: stats?.journal.recovery.tornBytes ?? 0 });
  process.off("disconnect", endWithGenerator);
  process.disconnect();
}

function fail(thrown: unknown): void {
  const code = isMillraceError(thrown) ? thrown.code : undefined;
  const message: VictimReport = { failed: String(thrown), code };
  process.off("disconnect", endWithGenerator);
  process.send?.(message, () => process.exit(1));
}

await run().catch(fail);
