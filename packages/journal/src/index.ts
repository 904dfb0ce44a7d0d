export type { AppendWaiter } from "./opener/appends.ts";
export {
  deliveryReceiptsPlace,
  type JournalMemory,
  NO_THREAD,
  producerWord,
  RECEIPT,
  sequenceOf,
} from "./memory/control.ts";
export { journalErrors } from "./errors.ts";
export { RECORD_TYPE, RecordCursor } from "./files/format.ts";
export { JournalAppender } from "./opener/appender.ts";
export type { BackupSummary } from "./keeper/backup.ts";
export { type Checkpoint, readCheckpoints } from "./files/checkpoint.ts";
export type { Health } from "./opener/health.ts";
export { type DeliveryHandle, Journal, type JournalStats, type ProducerHandle } from "./opener/journal.ts";
export type { ReadOptions } from "./opener/readings.ts";
export { type Marks, readMarks } from "./files/marks.ts";
export type { AppendOptions, JournalOptions } from "./opener/options.ts";
export type { DamageReport } from "./keeper/scrub.ts";
export { type StorageKind, storageKind } from "./storage/storage-guard.ts";
export { LogReader } from "./read/log-reader.ts";
export { memoryStorage, type MemorySource } from "./storage/memory-storage.ts";
export { NodeStorage } from "./storage/node-storage.ts";
export { openStorage } from "./storage/open-storage.ts";
export { JournalProducer, type RecordParts } from "./memory/producer.ts";
export { type JournalRecord } from "./read/record-stream.ts";
export type { RecoverySummary } from "./writer/recovery.ts";
export { type BatchVisitor, type LogScan, type ScanOptions, scanLog, type SegmentScan } from "./read/scan.ts";
export { SegmentList, type SegmentPlace } from "./files/segments.ts";
export type { Storage, StorageFile, StorageModule, StorageSource } from "./storage/storage.ts";
export { lockDirectory } from "./storage/lock.ts";
export { gapOutside, repairLog, type RepairSummary } from "./repair/repair.ts";
export { type Gap, type Survey, surveyLog } from "./repair/survey.ts";
export { recordAt, readRecords } from "./read/record-stream.ts";
export { findReserve } from "./files/spare.ts";
