/** The kinds of sections. */
import { deadSection } from "./dead-section.ts";
import { droppableSection } from "./droppable-section.ts";
import { endingsSection } from "./endings-section.ts";
import { pausedSection } from "./paused-section.ts";
import { placesSection } from "./places-section.ts";
import { producersSection } from "./producers-section.ts";
import { redirectedSection } from "./redirected-section.ts";
import { redrivenSection } from "./redriven-section.ts";
import { resultsSection } from "./results-section.ts";
import { olderRetriesSection, retriesSection } from "./retries-section.ts";
import { schedulesSection } from "./schedules-section.ts";
import type { OlderSection, Section } from "./section.ts";
import { settledSection } from "./settled-section.ts";
import { windowSection } from "./window-section.ts";

/** Those that this build writes and reads, in the order in which it writes them. */
export const SECTIONS: readonly Section[] = [
  settledSection,
  droppableSection,
  placesSection,
  deadSection,
  retriesSection,
  producersSection,
  pausedSection,
  redirectedSection,
  schedulesSection,
  redrivenSection,
  endingsSection,
  windowSection,
  resultsSection,
];

/** Those of earlier builds. */
export const OLDER_SECTIONS: readonly OlderSection[] = [olderRetriesSection];
