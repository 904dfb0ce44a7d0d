import { build } from "./app.mjs";

const { app } = await build();
console.log(`listening on ${await app.listen({ port: Number(process.env.PORT ?? 3000) })}`);
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, () => {
    app.close().then(
      () => console.log("closed in order"),
      // ERR_CLOSE_ABORTED: what wasn't done is delivered at the next start.
      (error) => console.log(error.code),
    );
  });
}
