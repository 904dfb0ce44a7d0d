/** Schedules with their definitions and how far they are, as a list of the codec. */
import { decode, encode } from "@millrace/codec";
import type { SavedSchedule } from "../states/schedule-states.ts";
import type { Section } from "./section.ts";

export const schedulesSection: Section = {
  tag: "SCHE",
  encode: ({ schedules }) => Buffer.from(encode(schedules.save())),
  decode: (bytes, { schedules }) => schedules.restore(decode(bytes) as readonly SavedSchedule[]),
};
