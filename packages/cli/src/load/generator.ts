/**
 * An open-loop generator: record n is due at start + n / rate, whether or not the records before it
 * are answered.
 *
 * Latency counts from when a record was due: a stall of the process under test, or of this
 * generator, shows in each record that was due meanwhile (no coordinated omission). The time from
 * due to sent is reported beside it.
 */
import { createConnection, type Socket } from "node:net";
import { Histogram } from "@millrace/metrics";
import { fillPayload } from "./payload.ts";
import { FrameReader, OUTCOME, requestBytes, writeRequest } from "./protocol.ts";
import { STATUS } from "./reconcile.ts";

export interface GeneratorOptions {
  readonly ratePerSecond: number;
  readonly seconds: number;
  readonly payloadBytes: number;
  readonly seed: number;
}

/** Records sent in one write. */
const BURST_MAX = 4096;
/** The schedule is looked at about this often. */
const TICK_MS = 1;
/** A run without kills counts an answer as missing after this time without any answer. */
const ANSWER_MS = 30_000;

export class Generator {
  readonly #options: GeneratorOptions;
  /** By id: one of STATUS. */
  readonly statuses: Uint8Array;
  readonly #sentAtMs: Float64Array;
  /** Due to answered, sent to answered, due to sent; µs. */
  readonly response: Histogram = new Histogram();
  readonly service: Histogram = new Histogram();
  readonly lag: Histogram = new Histogram();
  readonly total: number;
  sent = 0;
  acknowledged = 0;
  rejected = 0;
  uncertain = 0;
  #startedMs = 0;
  #socket: Socket | undefined;
  #inFlight = 0;
  #whenAnswered: (() => void) | undefined;

  constructor(options: GeneratorOptions) {
    this.#options = options;
    this.total = Math.floor(options.ratePerSecond * options.seconds);
    this.statuses = new Uint8Array(this.total);
    this.#sentAtMs = new Float64Array(this.total);
  }

  /** Whether every record of the schedule was sent. */
  get isDone(): boolean {
    return this.sent === this.total;
  }

  get isConnected(): boolean {
    return this.#socket !== undefined;
  }

  /** Records sent over the present connection that have no answer yet. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Starts the schedule. */
  start(): void {
    this.#startedMs = performance.now();
  }

  /** Milliseconds since the schedule began. */
  elapsedMs(): number {
    return performance.now() - this.#startedMs;
  }

  connect(socketPath: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(socketPath);
      const reader = new FrameReader((id, body) => this.#answered(id, body[0] as number));
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        socket.on("error", () => this.#disconnected(socket));
        this.#socket = socket;
        this.#inFlight = 0;
        resolve();
      });
      socket.on("data", (chunk) => reader.push(chunk));
      socket.on("close", () => this.#disconnected(socket));
    });
  }

  disconnect(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  /** Sends the due records until `until` returns true, or all were sent. */
  async sendUntil(until: () => boolean): Promise<void> {
    while (!this.isDone && !until()) {
      if (this.#socket !== undefined) this.#sendDue(this.#socket);
      await new Promise((next) => setTimeout(next, TICK_MS));
    }
  }

  /**
   * Resolves when all records of this connection are answered, the connection is gone, or an answer
   * is overdue.
   */
  async answers(): Promise<void> {
    while (this.#socket !== undefined && this.#inFlight > 0) {
      const isOverdue = await new Promise<boolean>((resolve) => {
        const timer = setTimeout(() => resolve(true), ANSWER_MS);
        this.#whenAnswered = () => {
          clearTimeout(timer);
          resolve(false);
        };
      });
      if (isOverdue) return;
    }
  }

  #sendDue(socket: Socket): void {
    const { ratePerSecond, payloadBytes, seed } = this.#options;
    const due = Math.min(this.total, Math.floor((this.elapsedMs() * ratePerSecond) / 1000));
    const count = Math.min(due - this.sent, BURST_MAX);
    if (count <= 0) return;
    const size = requestBytes(payloadBytes);
    const frames = Buffer.allocUnsafe(size * count);
    const now = performance.now();
    for (let index = 0; index < count; index += 1) {
      const id = this.sent;
      const at = writeRequest(frames, index * size, id, payloadBytes);
      fillPayload(frames.subarray(at, at + payloadBytes), id, seed);
      this.statuses[id] = STATUS.sent;
      this.#sentAtMs[id] = now;
      this.lag.record(Math.max(0, now - this.#dueMs(id)) * 1000);
      this.sent += 1;
    }
    this.#inFlight += count;
    socket.write(frames);
  }

  #dueMs(id: number): number {
    return this.#startedMs + (id / this.#options.ratePerSecond) * 1000;
  }

  #answered(id: number, outcome: number): void {
    const now = performance.now();
    this.#inFlight -= 1;
    if (outcome === OUTCOME.acknowledged) {
      this.acknowledged += 1;
      this.statuses[id] = STATUS.acknowledged;
      this.response.record((now - this.#dueMs(id)) * 1000);
      this.service.record((now - (this.#sentAtMs[id] as number)) * 1000);
    } else if (outcome === OUTCOME.rejected) {
      this.rejected += 1;
      this.statuses[id] = STATUS.rejected;
    } else this.uncertain += 1;
    this.#whenAnswered?.();
  }

  #disconnected(socket: Socket): void {
    if (this.#socket === socket) this.#socket = undefined;
    this.#whenAnswered?.();
  }
}
