/** Entry of the keeper thread. */
import { type MessagePort, workerData } from "node:worker_threads";
import type { JournalMemory } from "../memory/control.ts";
import { Keeper, type KeeperStart } from "./keeper.ts";
import { openStorage } from "../storage/open-storage.ts";
import type { StorageSource } from "../storage/storage.ts";

export interface KeeperWorkerData {
  readonly storage: StorageSource;
  readonly memory: JournalMemory;
  readonly start: KeeperStart;
  readonly port: MessagePort;
}

const { storage, memory, start, port } = workerData as KeeperWorkerData;
new Keeper(await openStorage(storage), memory, { ...start, logId: Buffer.from(start.logId) }, port).run();
