import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { openDatabase, placeOrder } from "./database.mjs";

for (const left of ["./data", "./shop.db", "./shop.db-wal", "./shop.db-shm"])
  rmSync(left, { recursive: true, force: true });

const database = openDatabase();
for (const [index, item] of ["cup", "saucer", "spoon", "pot", "tray"].entries()) {
  placeOrder(database, { id: `o-${index + 1}`, item });
}

const relay = fileURLToPath(new URL("./relay.mjs", import.meta.url));
const first = spawnSync(process.execPath, [relay, "crash"], { stdio: "inherit" });
console.log(`the relay ended with ${first.signal}`);
const second = spawnSync(process.execPath, [relay], { stdio: "inherit" });
console.log(`the relay ended with ${second.status}`);

const count = (sql) => database.prepare(sql).get().count;
console.log(`${count("SELECT count(*) AS count FROM outbox")} rows left in the outbox`);
console.log(`${count("SELECT count(DISTINCT order_id) AS count FROM shipments")} orders shipped`);
console.log(`${count("SELECT count(*) AS count FROM shipments")} shipments`);
database.close();
