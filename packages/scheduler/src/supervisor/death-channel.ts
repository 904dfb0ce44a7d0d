/** Deaths of worker threads for `node:diagnostics_channel`: docs/observe.md. */
import { channel } from "node:diagnostics_channel";
import type { MachineDeath } from "./supervisor.ts";

const DEATHS = channel("millrace:machineDeath");

/** As `listener`, after those who listen to the channel. */
export function tellingDeaths(listener: (death: MachineDeath) => void): (death: MachineDeath) => void {
  return (death) => {
    if (DEATHS.hasSubscribers) DEATHS.publish(death);
    listener(death);
  };
}
