import { errorFactory, type ErrorFactory, type ErrorTable } from "@millrace/base";

export type ChannelErrorCode =
  | "ERR_CHAN_CLOSED"
  | "ERR_CHAN_IN_USE"
  | "ERR_CHAN_VALUE"
  | "ERR_CHAN_MEMORY"
  | "ERR_CHAN_ENDS"
  | "ERR_CHAN_ORPHANED"
  | "ERR_SELECT_CASES";

export const channelErrors: ErrorTable<ChannelErrorCode> = {
  ERR_CHAN_CLOSED: {
    cause: "A value was sent to a closed channel, or the channel was closed a second time.",
    cure:
      "Let the sender close the channel once, when it has sent everything. With several " +
      "senders, let the last one close it.",
  },
  ERR_CHAN_IN_USE: {
    cause: "free() was called on a channel that isn't closed, or that somebody waits for.",
    cure: "Close the channel, let everybody receive the end, then call free().",
  },
  ERR_CHAN_VALUE: {
    cause:
      "A value doesn't fit a channel of numbers: an int32 channel carries whole numbers of 32 " +
      "bits, a float64 channel numbers.",
    cure: "Send such a number, or make the channel with new Chan(), which carries any value.",
  },
  ERR_CHAN_MEMORY: {
    cause: "The memory that all channels of the process share is full of values that nobody has received yet.",
    cure: "Make the channels smaller, so that senders wait earlier, or add receivers.",
  },
  ERR_CHAN_ENDS: {
    cause: "A one-to-one channel was used by a second sender or a second receiver.",
    cure: "Use one sending and one receiving thread, or make the channel with new Chan().",
  },
  ERR_CHAN_ORPHANED: {
    cause: "The thread at the other end of a one-to-one channel has died.",
    cure: "Make a new channel for the thread that takes its place. You have received every value that was sent before.",
  },
  ERR_SELECT_CASES: {
    cause: "A select got no case, more than 64 cases, or a channel that it can't wait for.",
    cure: "Give it 1 to 64 cases.",
  },
};

export const channelError: ErrorFactory<ChannelErrorCode> = errorFactory(channelErrors);
