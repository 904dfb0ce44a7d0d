export { intakeError, intakeErrors } from "./errors.ts";
export { type Acknowledgement, Intake, type IntakeStats, type Publish, type PublishOptions } from "./intake.ts";
export { intakeOptions, type IntakeOptions } from "./options.ts";
export { type DeliveredRecord, handlerName, publisherHeaders } from "./record-header.ts";
export { RangeSet } from "./range-set.ts";
export { RecordStates } from "./record-states.ts";
export { deadError, deadSequence, decodeAck } from "./state-records.ts";
export { foreignRecord } from "./foreign.ts";
