export async function settle({ account, amount }) {
  await new Promise((resolve) => setTimeout(resolve, 20));
  return { account, fee: amount / 100 };
}
