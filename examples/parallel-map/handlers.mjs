/** Steps until the Collatz sequence from `number` on reaches 1. */
export function steps(number) {
  let count = 0;
  for (let value = number; value !== 1; value = value % 2 === 0 ? value / 2 : 3 * value + 1) count += 1;
  return { number, count };
}

export const longer = ([left, right]) => (right.count > left.count ? right : left);
