/**
 * Limits of one address: connections at once, and requests a second. One client that goes wild
 * leaves room for the others. Behind a proxy all clients have one address, so there is no limit
 * unless one is given.
 */

interface Client {
  connections: number;
  /** Requests that it may send at once. */
  tokens: number;
  filledAt: number;
}

export interface AddressTerms {
  /** Connections of one address at once, on all ports together; undefined: no limit. */
  readonly connectionsMax: number | undefined;
  /** Requests and frames of one address a second; a second's worth may come at once. */
  readonly requestsPerSecond: number | undefined;
}

const V4_IN_V6 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;
const NETWORK_GROUPS = 4;

/**
 * The name under which an address is counted. A client of IPv6 has a network of 2^64 addresses (RFC
 * 6177) and may take another one for each request, so its network counts. IPv4 within IPv6 is IPv4.
 */
function clientOfAddress(address: string): string {
  if (!address.includes(":")) return address;
  const v4 = V4_IN_V6.exec(address)?.[1];
  if (v4 !== undefined) return v4;
  const [head = "", tail] = (address.split("%")[0] as string).split("::");
  const first = head === "" ? [] : head.split(":");
  const last = tail === undefined || tail === "" ? [] : tail.split(":");
  const groups = [...first, ...Array.from({ length: 8 - first.length - last.length }, () => "0"), ...last];
  return `${groups.slice(0, NETWORK_GROUPS).join(":")}::`;
}

/** Addresses without a connection that are remembered: their rest of a second. */
const ADDRESSES_MAX = 100_000;

export class Addresses {
  readonly #connectionsMax: number;
  readonly #perSecond: number | undefined;
  readonly #clients = new Map<string, Client>();
  readonly #now: () => number;

  /** `now`: ms of a clock that only grows. */
  constructor({ connectionsMax = Infinity, requestsPerSecond }: AddressTerms, now: () => number) {
    this.#connectionsMax = connectionsMax;
    this.#perSecond = requestsPerSecond;
    this.#now = now;
  }

  /** Takes note of a new connection. Returns whether it may stay; then call `closed` at its end. */
  opened(address: string): boolean {
    const client = this.#clientOf(address);
    if (client.connections >= this.#connectionsMax) return false;
    client.connections += 1;
    return true;
  }

  closed(address: string): void {
    const name = clientOfAddress(address);
    const client = this.#clients.get(name);
    if (client === undefined) return;
    client.connections -= 1;
    if (client.connections === 0 && this.#perSecond === undefined) this.#clients.delete(name);
  }

  /** How long the address has to wait for its next request, ms; 0: it may come. */
  waitMs(address: string): number {
    if (this.#perSecond === undefined) return 0;
    const { tokens } = this.#filled(address, this.#perSecond);
    return tokens >= 1 ? 0 : Math.ceil(((1 - tokens) * 1000) / this.#perSecond);
  }

  /** A request has come. */
  take(address: string): void {
    if (this.#perSecond !== undefined) this.#filled(address, this.#perSecond).tokens -= 1;
  }

  #filled(address: string, perSecond: number): Client {
    const client = this.#clientOf(address);
    const now = this.#now();
    client.tokens = Math.min(perSecond, client.tokens + ((now - client.filledAt) * perSecond) / 1000);
    client.filledAt = now;
    return client;
  }

  #clientOf(given: string): Client {
    const address = clientOfAddress(given);
    const known = this.#clients.get(address);
    if (known !== undefined) return known;
    if (this.#clients.size >= ADDRESSES_MAX) this.#forget();
    const client = { connections: 0, tokens: this.#perSecond ?? 0, filledAt: this.#now() };
    this.#clients.set(address, client);
    return client;
  }

  /** Those whose second is over owe nothing. */
  #forget(): void {
    const now = this.#now();
    for (const [address, { connections, filledAt }] of this.#clients) {
      if (connections === 0 && now - filledAt >= 1000) this.#clients.delete(address);
    }
  }
}
