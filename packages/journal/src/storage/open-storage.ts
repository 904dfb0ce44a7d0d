/** A thread's own storage, made from the plain value that all threads of a journal get. */
import { MemoryStorage } from "./memory-storage.ts";
import { NodeStorage } from "./node-storage.ts";
import type { Storage, StorageModule, StorageSource } from "./storage.ts";

export async function openStorage(source: StorageSource): Promise<Storage> {
  if ("directory" in source) return new NodeStorage(source.directory, source.fileMode);
  if ("memory" in source) return new MemoryStorage(source.memory);
  const { openStorage: open } = (await import(source.url)) as StorageModule;
  return open(source.data);
}
