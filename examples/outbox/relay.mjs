// Publishes the rows of the outbox, in order, and deletes each one that is stored.
import { open } from "millrace";
import { openDatabase } from "./database.mjs";

const database = openDatabase();
const mill = await open({
  handlers: new URL("./handlers.mjs", import.meta.url),
  processors: 1,
  journal: { directory: "./data" },
});

const rows = database.prepare("SELECT number, payload FROM outbox ORDER BY number").all();
for (const { number, payload } of rows) {
  const order = JSON.parse(payload);
  const { duplicate } = await mill.publish.ship(order, { key: order.id, producer: { id: "outbox", sequence: number } });
  if (duplicate) console.log(`row ${number} was stored before`);
  // The worst moment: stored, and not deleted.
  if (process.argv[2] === "crash" && number === 3) process.kill(process.pid, "SIGKILL");
  database.prepare("DELETE FROM outbox WHERE number = ?").run(number);
}
await mill.drain({ all: true });
await mill.close();
database.close();
