/** The work of a record; put yours here. */
export function work({ number }) {
  let sum = 0;
  for (let step = 0; step < 1000; step += 1) sum += (number * step) % 7;
  return sum;
}
