import Database from "libsql";

export function openDatabase() {
  const database = new Database("./shop.db");
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000");
  database.exec(`
    CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, item TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS shipments (record TEXT PRIMARY KEY, order_id TEXT NOT NULL, item TEXT NOT NULL);
  `);
  return database;
}

/** The order and the word of it, in one transaction. */
export function placeOrder(database, { id, item }) {
  database.transaction(() => {
    database.prepare("INSERT INTO orders (id, item) VALUES (?, ?)").run(id, item);
    database.prepare("INSERT INTO outbox (payload) VALUES (?)").run(JSON.stringify({ id, item }));
  })();
}
