/**
 * One client over TCP or a Unix socket: frames come in, each gets an answer, in the order of the
 * frames. The client needn't wait for one before it sends the next.
 *
 * What a client can make us keep is bounded: `FRAMES_MAX` frames without an answer, and one that
 * isn't complete. Behind that, and while it doesn't read its answers, nothing is read of it.
 */
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { clearTimeout, performance, setTimeout } from "@millrace/base";
import type { Addresses } from "../access/addresses.ts";
import type { Access } from "../access/tokens.ts";
import { serverError } from "../errors.ts";
import { readJson } from "../records/json.ts";
import { type Publications, readEnvelope } from "../records/publication.ts";
import { errorDocument } from "../records/status.ts";
import { FrameReader, frameOf } from "./frames.ts";

/** Frames of one connection that have no answer yet. */
const FRAMES_MAX = 1024;

export interface ConnectionHost {
  readonly access: Access;
  readonly publications: Publications;
  readonly frameBytesMax: number;
  readonly frameTimeoutMs: number;
  readonly idleTimeoutMs: number;
  /** Limits of one address; undefined: no limits. */
  readonly addresses?: Addresses | undefined;
}

/**
 * How a request of HTTP begins, and no JSON. A page on any site can make a browser post text to a
 * port of this machine: its lines aren't frames that somebody has meant.
 */
const HTTP_BEGIN = /^[a-z]+ (\/|\*|https?:)/i;
const HTTP_BEGIN_BYTES = 20;

/** A socket, or another stream of frames. */
type FrameSocket = Duplex & Partial<Pick<Socket, "setNoDelay" | "remoteAddress">>;

/** An answer in the line of answers; undefined until it is known. */
interface Turn {
  text: string | undefined;
}

export class Connection {
  readonly #socket: FrameSocket;
  readonly #host: ConnectionHost;
  readonly #frames: FrameReader;
  readonly #turns: Turn[] = [];
  #token: string | undefined;
  /** No frame is taken any more: the client has ended, made a mistake, or we end. */
  #isOver = false;
  /** The client sends nothing more. */
  #hasEnded = false;
  /** Since when a frame isn't complete; Infinity without one. */
  #partialSince = Infinity;
  #lastProgressAt: number = performance.now();
  readonly #address: string;
  /** Waits for the rate of the address. */
  #later: NodeJS.Timeout | undefined;

  constructor(socket: FrameSocket, host: ConnectionHost) {
    this.#socket = socket;
    this.#address = socket.remoteAddress ?? "";
    socket.once("close", () => clearTimeout(this.#later));
    this.#host = host;
    this.#frames = new FrameReader(host.frameBytesMax);
    socket.setNoDelay?.(true);
    socket.on("data", (chunk: Buffer) => {
      // Read to the client's end all the same: a reset could overtake its answers.
      if (this.#isOver) return;
      this.#lastProgressAt = performance.now();
      this.#frames.feed(chunk);
      this.#takeFrames();
    });
    socket.on("drain", () => {
      this.#lastProgressAt = performance.now();
      this.#takeFrames();
    });
    socket.on("end", () => {
      this.#hasEnded = true;
      this.#takeFrames();
    });
    // The socket is closed then. Published records are stored, whether the client hears of it or
    // not.
    socket.on("error", () => {});
  }

  /** Takes no frame any more; the connection closes when all have their answers. */
  end(): void {
    this.#isOver = true;
    this.#socket.resume();
    this.#flush();
  }

  /** Ends what takes too long. */
  look(now: number): void {
    const { frameTimeoutMs, idleTimeoutMs } = this.#host;
    if (!this.#isOver && now - this.#partialSince > frameTimeoutMs) {
      this.#fail(serverError("ERR_REQUEST_TIMEOUT", "the frame didn't arrive in time"));
    }
    // With answers to come it is our turn, unless the client doesn't read them.
    const isOurTurn = this.#turns.length > 0 && !this.#socket.writableNeedDrain;
    if (!isOurTurn && now - this.#lastProgressAt > idleTimeoutMs) this.#socket.destroy();
  }

  /** The address has sent too much, and may send again. */
  #again(): void {
    this.#later = undefined;
    this.#lastProgressAt = performance.now();
    if (!this.#socket.destroyed) this.#takeFrames();
  }

  #takeFrames(): void {
    while (!this.#isOver && this.#turns.length < FRAMES_MAX && !this.#socket.writableNeedDrain) {
      const waitMs = this.#host.addresses?.waitMs(this.#address) ?? 0;
      if (waitMs > 0) {
        this.#later ??= setTimeout(() => this.#again(), waitMs);
        break;
      }
      let frame: Buffer | undefined;
      try {
        frame = this.#frames.next();
      } catch (thrown) {
        this.#fail(thrown);
        return;
      }
      if (frame === undefined) {
        this.#wait();
        return;
      }
      if (HTTP_BEGIN.test(frame.toString("latin1", 0, HTTP_BEGIN_BYTES))) {
        this.#fail(serverError("ERR_REQUEST_MALFORMED", "this port takes frames, and no HTTP"));
        return;
      }
      this.#partialSince = Infinity;
      this.#host.addresses?.take(this.#address);
      void this.#answer(frame);
    }
    // We read nothing for now: what has arrived of the next frame is late by us.
    this.#partialSince = Infinity;
    this.#socket.pause();
  }

  async #answer(frame: Buffer): Promise<void> {
    const turn: Turn = { text: undefined };
    this.#turns.push(turn);
    let answer: object;
    try {
      answer = await this.#carryOut(frame);
    } catch (thrown) {
      answer = { error: errorDocument(thrown) };
    }
    turn.text = JSON.stringify(answer);
    this.#flush();
    if (!this.#isOver && this.#socket.isPaused()) this.#takeFrames();
  }

  /** Everything up to the publish is done at once: frames are published in the order they came. */
  #carryOut(frame: Buffer): Promise<object> | object {
    const value = readJson(frame);
    if (isTokenFrame(value)) {
      this.#host.access.demand("publish", value.token);
      this.#token = value.token;
      return { ok: true };
    }
    this.#host.access.demand("publish", this.#token);
    const { publications } = this.#host;
    const { handler, payload, terms } = readEnvelope(value, ["handler"]);
    const checked: Publications = publications;
    checked.mustBeHandler(handler);
    return publications.wait(handler, payload, terms);
  }

  /** Writes the answers whose turn has come. */
  #flush(): void {
    const ready: Buffer[] = [];
    for (let [turn] = this.#turns; turn?.text !== undefined; [turn] = this.#turns) {
      ready.push(frameOf(this.#frames.kind, turn.text));
      this.#turns.shift();
    }
    if (ready.length > 0 && this.#socket.writable) this.#socket.write(Buffer.concat(ready));
    if (this.#isOver && this.#turns.length === 0) this.#socket.end();
  }

  /** Frames that came before get their answers first. */
  #fail(thrown: unknown): void {
    this.#isOver = true;
    this.#socket.resume();
    this.#turns.push({ text: JSON.stringify({ error: errorDocument(thrown) }) });
    this.#flush();
  }

  /** For more bytes, or for none when the client has ended. */
  #wait(): void {
    const isWithinFrame = this.#frames.pendingBytes > 0;
    if (!this.#hasEnded) {
      this.#partialSince = isWithinFrame ? Math.min(this.#partialSince, performance.now()) : Infinity;
      this.#socket.resume();
    } else if (isWithinFrame) {
      this.#fail(serverError("ERR_REQUEST_MALFORMED", "the connection ended within a frame"));
    } else this.end();
  }
}

function isTokenFrame(value: unknown): value is { readonly token: string } {
  if (typeof value !== "object" || value === null || Object.keys(value).length !== 1) return false;
  return typeof (value as { token?: unknown }).token === "string";
}
