import { openDatabase } from "./database.mjs";

let database;

/** Once on each worker thread. */
export function initialize() {
  database = openDatabase();
}

export function teardown() {
  database.close();
}

/** The record's id is unique in the table: a second delivery writes nothing. */
export function ship({ id, item }, { record }) {
  database
    .prepare("INSERT INTO shipments (record, order_id, item) VALUES (?, ?, ?) ON CONFLICT (record) DO NOTHING")
    .run(record.id, id, item);
}
