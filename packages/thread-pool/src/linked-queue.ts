/**
 * A queue whose members can be removed from the middle at once: a list linked both ways, and a map
 * from a member to its place. Aborting ten thousand waiting tasks costs ten thousand steps; an
 * array would move its tail for each of them.
 */

interface Place<T> {
  readonly member: T;
  previous: Place<T> | undefined;
  next: Place<T> | undefined;
}

export class LinkedQueue<T> {
  #first: Place<T> | undefined;
  #last: Place<T> | undefined;
  /** The places of a member; nearly always one. */
  readonly #places = new Map<T, Place<T>[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  push(member: T): void {
    const place: Place<T> = { member, previous: this.#last, next: undefined };
    if (this.#last === undefined) this.#first = place;
    else this.#last.next = place;
    this.#last = place;
    this.#remember(place);
  }

  unshift(member: T): void {
    const place: Place<T> = { member, previous: undefined, next: this.#first };
    if (this.#first === undefined) this.#last = place;
    else this.#first.previous = place;
    this.#first = place;
    this.#remember(place);
  }

  /** Takes the first member; null when there is none. */
  shift(): T | null {
    const place = this.#first;
    if (place === undefined) return null;
    this.#forget(place);
    return place.member;
  }

  /** Removes a member; one that isn't there is no error. */
  remove(member: T): void {
    const place = this.#places.get(member)?.[0];
    if (place !== undefined) this.#forget(place);
  }

  #remember(place: Place<T>): void {
    const places = this.#places.get(place.member);
    if (places === undefined) this.#places.set(place.member, [place]);
    else places.push(place);
    this.#size++;
  }

  #forget(place: Place<T>): void {
    const { member, previous, next } = place;
    if (previous === undefined) this.#first = next;
    else previous.next = next;
    if (next === undefined) this.#last = previous;
    else next.previous = previous;
    const places = this.#places.get(member) as Place<T>[];
    if (places.length === 1) this.#places.delete(member);
    else places.splice(places.indexOf(place), 1);
    this.#size--;
  }
}
