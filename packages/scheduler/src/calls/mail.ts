import type { Transferable } from "node:worker_threads";

/** Results that come by message: message and completion meet here, whichever is first. */
export class Mail {
  /** Set once the calls are there. */
  parcelFor: (ticket: number) => Transferable | undefined = () => undefined;
  readonly #arrived = new Map<string, unknown>();
  readonly #awaited = new Map<string, (value: unknown) => void>();

  arrived(machine: number, ticket: number, value: unknown): void {
    const key = `${machine}.${ticket}`;
    const settle = this.#awaited.get(key);
    if (settle === undefined) this.#arrived.set(key, value);
    else {
      this.#awaited.delete(key);
      settle(value);
    }
  }

  take(machine: number, ticket: number, settle: (value: unknown) => void): void {
    const key = `${machine}.${ticket}`;
    if (this.#arrived.has(key)) {
      const value = this.#arrived.get(key);
      this.#arrived.delete(key);
      settle(value);
    } else this.#awaited.set(key, settle);
  }
}
