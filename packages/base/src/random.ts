/**
 * Seeded random numbers: the same seed gives the same sequence on every machine.
 *
 * Algorithm: sfc32 (Chris Doty-Humphrey, PractRand), seeded through a 32-bit mixer. Not for
 * secrets.
 */
export interface Random {
  /** A whole number in `[0, below)`. */
  readonly below: (below: number) => number;
  /** A number in `[0, 1)`. */
  readonly fraction: () => number;
}

/** `seed`: a whole number of 32 bits. */
export function seededRandom(seed: number): Random {
  let a = mix(seed);
  let b = mix(a);
  let c = mix(b);
  let counter = 1;
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  for (let round = 0; round < 12; round += 1) next();
  return { below: (below) => Math.floor((next() / 2 ** 32) * below), fraction: () => next() / 2 ** 32 };
}

function mix(value: number): number {
  let mixed = (value + 0x9e3779b9) | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}
