/** All codes of all packages that a user of `millrace` meets, with cause and cure. */
import { baseErrors, type ErrorTable } from "@millrace/base";
import { channelErrors } from "@millrace/channels";
import { codecErrors } from "@millrace/codec";
import { contextErrors } from "@millrace/context";
import { intakeErrors } from "@millrace/intake";
import { journalErrors } from "@millrace/journal";
import { poolErrors } from "@millrace/pool";
import { schedulerErrors } from "@millrace/scheduler";
import { syncErrors } from "@millrace/atomics-sync";

export const errors: ErrorTable = {
  ...baseErrors,
  ...codecErrors,
  ...syncErrors,
  ...channelErrors,
  ...contextErrors,
  ...schedulerErrors,
  ...poolErrors,
  ...journalErrors,
  ...intakeErrors,
};
