/**
 * The dead letters that the log holds, in columns: some 50 bytes of memory each, so that a filter
 * looks at a million of them without reading the log.
 *
 * Rows stand in the order of dying. A letter that leaves is struck out; when half of the rows are
 * struck out, the others move together. A scan in pieces goes by the number of a death, which no
 * such move changes.
 */
export interface DeadState {
  /** Place of the DEAD record. */
  readonly place: number;
  readonly reason: number;
  readonly attempts: number;
  /** When it died, ms since 1970. */
  readonly atMs: number;
  /**
   * Number of this death: the sequence of the DEAD record when it was first written. A record that
   * is redriven and dies again has another.
   */
  readonly death: number;
  /** The handler in which it died; empty where an older build has written the DEAD record. */
  readonly handler: string;
  /** CRC-32 of the order key; 0 without. */
  readonly keyHash: number;
  /** Bytes of the record and of its DEAD record. */
  readonly bytes: number;
}

/** Picks letters; undefined members let all pass. */
export interface DeadQuery {
  readonly handler?: string | undefined;
  readonly reason?: number | undefined;
  /** Died at this time or later, and before this time. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly keyHash?: number | undefined;
  /** Origins behind this one. */
  readonly after: number;
}

const ROWS_MIN = 256;
const STRUCK = 0;

export class DeadTable {
  readonly #rows = new Map<number, number>();
  readonly #names: string[] = [];
  readonly #numbers = new Map<string, number>();
  /** Rows in use, struck out or not. */
  #end = 0;
  #bytesSum = 0;
  #origins = new Float64Array(ROWS_MIN);
  #places = new Float64Array(ROWS_MIN);
  #times = new Float64Array(ROWS_MIN);
  #deaths = new Float64Array(ROWS_MIN);
  #bytes = new Uint32Array(ROWS_MIN);
  #keyHashes = new Uint32Array(ROWS_MIN);
  #handlers = new Uint32Array(ROWS_MIN);
  #attempts = new Uint16Array(ROWS_MIN);
  #reasons = new Uint8Array(ROWS_MIN);

  get size(): number {
    return this.#rows.size;
  }

  /** Bytes of all letters, in the log. */
  get bytes(): number {
    return this.#bytesSum;
  }

  has(origin: number): boolean {
    return this.#rows.has(origin);
  }

  get(origin: number): DeadState | undefined {
    const row = this.#rows.get(origin);
    return row === undefined ? undefined : this.#stateOf(row);
  }

  /** A letter that is there already keeps its row: its DEAD record was copied. */
  set(origin: number, state: DeadState): void {
    let row = this.#rows.get(origin);
    if (row === undefined) {
      if (this.#end === this.#origins.length) this.#resize(this.#end * 2);
      row = this.#end;
      this.#end += 1;
      this.#rows.set(origin, row);
    } else this.#bytesSum -= this.#bytes[row] as number;
    this.#origins[row] = origin;
    this.#places[row] = state.place;
    this.#times[row] = state.atMs;
    this.#deaths[row] = state.death;
    this.#bytes[row] = state.bytes;
    this.#keyHashes[row] = state.keyHash;
    this.#handlers[row] = this.#numberOf(state.handler);
    this.#attempts[row] = state.attempts;
    this.#reasons[row] = state.reason;
    this.#bytesSum += state.bytes;
  }

  delete(origin: number): void {
    const row = this.#rows.get(origin);
    if (row === undefined) return;
    this.#rows.delete(origin);
    this.#bytesSum -= this.#bytes[row] as number;
    this.#origins[row] = STRUCK;
    if (this.#end > ROWS_MIN && this.#rows.size * 2 < this.#end) this.#moveTogether();
  }

  /** Origins, in the order of dying. */
  keys(): IterableIterator<number> {
    return this.#rows.keys();
  }

  *[Symbol.iterator](): Generator<readonly [origin: number, state: DeadState], void> {
    for (const [origin, row] of this.#rows) yield [origin, this.#stateOf(row)];
  }

  /**
   * Looks at up to `rowsMax` letters behind the death `behind`. `found` is called for each that
   * `query` lets pass; it isn't sure where only the record can tell. Returns the last death that
   * was looked at; undefined when there is no more.
   */
  scan(
    query: DeadQuery,
    behind: number,
    rowsMax: number,
    found: (origin: number, place: number, death: number, isSure: boolean) => void,
  ): number | undefined {
    const { fromMs, toMs, keyHash, reason, after } = query;
    const isAnyHandler = query.handler === undefined;
    const handler = isAnyHandler ? undefined : this.#numbers.get(query.handler as string);
    const unsaid = this.#numbers.get("");
    const first = this.#rowBehind(behind);
    const end = Math.min(this.#end, first + rowsMax);
    for (let row = first; row < end; row += 1) {
      const origin = this.#origins[row] as number;
      if (origin <= after || origin === STRUCK) continue;
      const atMs = this.#times[row] as number;
      if (atMs < fromMs || atMs >= toMs) continue;
      if (reason !== undefined && this.#reasons[row] !== reason) continue;
      const of = this.#handlers[row];
      const isSaid = of !== unsaid;
      if (!isAnyHandler && of !== handler && isSaid) continue;
      if (keyHash !== undefined && this.#keyHashes[row] !== keyHash && isSaid) continue;
      const isSure = keyHash === undefined && (isAnyHandler || isSaid);
      found(origin, this.#places[row] as number, this.#deaths[row] as number, isSure);
    }
    return end < this.#end ? (this.#deaths[end - 1] as number) : undefined;
  }

  #stateOf(row: number): DeadState {
    return {
      place: this.#places[row] as number,
      reason: this.#reasons[row] as number,
      attempts: this.#attempts[row] as number,
      atMs: this.#times[row] as number,
      death: this.#deaths[row] as number,
      handler: this.#names[this.#handlers[row] as number] as string,
      keyHash: this.#keyHashes[row] as number,
      bytes: this.#bytes[row] as number,
    };
  }

  #numberOf(handler: string): number {
    let number = this.#numbers.get(handler);
    if (number === undefined) {
      number = this.#names.push(handler) - 1;
      this.#numbers.set(handler, number);
    }
    return number;
  }

  /** Deaths grow from row to row, struck out or not. */
  #rowBehind(death: number): number {
    let low = 0;
    let high = this.#end;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#deaths[middle] as number) <= death) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #moveTogether(): void {
    let to = 0;
    for (let row = 0; row < this.#end; row += 1) {
      const origin = this.#origins[row] as number;
      if (origin === STRUCK) continue;
      for (const column of this.#columns()) column[to] = column[row] as number;
      this.#rows.set(origin, to);
      to += 1;
    }
    this.#end = to;
    this.#resize(Math.max(ROWS_MIN, to * 2));
  }

  #columns(): readonly (Float64Array | Uint32Array | Uint16Array | Uint8Array)[] {
    return [
      this.#origins,
      this.#places,
      this.#times,
      this.#deaths,
      this.#bytes,
      this.#keyHashes,
      this.#handlers,
      this.#attempts,
      this.#reasons,
    ];
  }

  #resize(rows: number): void {
    const end = this.#end;
    const wider = <Column extends Float64Array | Uint32Array | Uint16Array | Uint8Array>(
      column: Column,
      empty: Column,
    ): Column => {
      empty.set(column.subarray(0, end));
      return empty;
    };
    this.#origins = wider(this.#origins, new Float64Array(rows));
    this.#places = wider(this.#places, new Float64Array(rows));
    this.#times = wider(this.#times, new Float64Array(rows));
    this.#deaths = wider(this.#deaths, new Float64Array(rows));
    this.#bytes = wider(this.#bytes, new Uint32Array(rows));
    this.#keyHashes = wider(this.#keyHashes, new Uint32Array(rows));
    this.#handlers = wider(this.#handlers, new Uint32Array(rows));
    this.#attempts = wider(this.#attempts, new Uint16Array(rows));
    this.#reasons = wider(this.#reasons, new Uint8Array(rows));
  }
}
