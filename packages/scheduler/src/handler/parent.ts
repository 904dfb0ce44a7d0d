/**
 * Names the task that fails when work that it has left behind throws, and nobody catches the error.
 */
export interface Blamed {
  failed(error: unknown): void;
}

/** A task that has submitted others, as its machine knows it: whether it can go on by itself. */
export interface Parent {
  /** Calls and spawned tasks of this task that are not over yet. */
  children: number;
  /** Its handler has returned a promise that is not settled yet. */
  isPending: boolean;
  /** It has ended: its context is of no use any more. */
  readonly isOver: boolean;
  /** The attempt of a record that it belongs to. */
  readonly blamed: Blamed | undefined;
}
