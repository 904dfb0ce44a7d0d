/** The path of a Unix socket, before somebody listens there. */
import { existsSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { dirname } from "node:path";

/** What the address of a Unix socket holds. */
const ADDRESS_BYTES_MAX = process.platform === "linux" ? 107 : 103;

/** Removes what a killed process has left. Throws as `mustBeFreePath` does. */
export async function preparePath(path: string): Promise<void> {
  await mustBeFreePath(path);
  rmSync(path, { force: true });
}

/** Throws where nothing can listen, or somebody else does. */
export async function mustBeFreePath(path: string): Promise<void> {
  const bytes = Buffer.byteLength(path);
  // Node would cut it off, and listen elsewhere.
  if (bytes > ADDRESS_BYTES_MAX) {
    throw new RangeError(`a socket's path has at most ${ADDRESS_BYTES_MAX} bytes, as an absolute one, not ${bytes}`);
  }
  if (!existsSync(dirname(path))) throw new Error(`there is no directory ${dirname(path)}`);
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  if (!stats.isSocket()) throw new Error("something else than a socket is there");
  if (await isAnswered(path)) throw new Error("another process listens there");
}

/** Unless it is refused: then nobody listens any more. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", ({ code }: NodeJS.ErrnoException) => resolve(code !== "ECONNREFUSED" && code !== "ENOENT"));
  });
}
