/**
 * For packages above, which read and write the log on their own threads. Users need only index.ts.
 */
export type { AppendWaiter } from "./opener/appends.ts";
export { journalError } from "./errors.ts";
export { readCheckpoints } from "./files/checkpoint.ts";
export {
  deliveryReceiptsPlace,
  type JournalMemory,
  NO_THREAD,
  producerWord,
  RECEIPT,
  sequenceOf,
} from "./memory/control.ts";
export type { DeliveryHandle } from "./opener/journal.ts";
export type { Gap } from "./repair/gap.ts";
export { type Survey, surveyInSteps, surveyLog } from "./repair/survey.ts";
export { gapOutside, repairLog, type RepairSummary } from "./repair/repair.ts";
export { resolveWithJournal } from "./opener/options.ts";
export { type GroupSize, JournalProducer, type RecordParts } from "./memory/producer.ts";
export { lockDirectory } from "./storage/lock.ts";
export { mustBeUnused } from "./storage/in-use.ts";
export { LogReader } from "./read/log-reader.ts";
export { firstSegmentIn, type Marks, readMarks } from "./files/marks.ts";
export { openStorage } from "./storage/open-storage.ts";
export { recordAt } from "./read/record.ts";
export { RecordCursor } from "./files/records.ts";
export { type BatchVisitor, type LogScan, type ScanOptions, scanLog, type SegmentScan } from "./read/scan.ts";
export { SegmentList, type SegmentPlace } from "./files/segments.ts";
export { findReserve } from "./files/spare.ts";
export { SEGMENT_REPAIRED, SEGMENT_REUSED, SEGMENT_UNSYNCED, type SegmentHeader } from "./files/format.ts";
export { backUpFromOutside } from "./keeper/backup.ts";
export { completeFile, partOf, partOfNew } from "./storage/new-file.ts";
export { isNotThere } from "./storage/not-there.ts";
export { storageError } from "./storage/storage-errors.ts";
export { replaceCheckpoint } from "./keeper/replace-checkpoint.ts";
export { trimLog } from "./repair/trim.ts";
