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
    cause: "Something was sent to a channel that is closed, or it was closed a second time.",
    cure: "Let the sender close the channel, once, when it has sent everything; with several senders, when the last one is through.",
  },
  ERR_CHAN_IN_USE: {
    cause: "A channel's memory was given back while it wasn't closed, or while somebody waited for it.",
    cure: "Close the channel, let everybody receive the end, then call free().",
  },
  ERR_CHAN_VALUE: {
    cause:
      "A value doesn't fit a channel of numbers: an int32 channel carries whole numbers of 32 bits, a float64 channel numbers.",
    cure: "Send such a number, or make the channel with new Chan(), which carries any value.",
  },
  ERR_CHAN_MEMORY: {
    cause: "The memory that all channels of the process share is full of values that nobody has received yet.",
    cure: "Let the receivers keep up: make the channels smaller, so that senders wait earlier.",
  },
  ERR_CHAN_ENDS: {
    cause: "A one-to-one channel was used by a second sender or a second receiver.",
    cure: "Use one sending and one receiving thread, or make the channel with new Chan().",
  },
  ERR_CHAN_ORPHANED: {
    cause: "The thread at the other end of a one-to-one channel has died.",
    cure: "Make a new channel for the thread that takes its place. What was received before this error is all that was sent.",
  },
  ERR_SELECT_CASES: {
    cause: "A select was given no case, too many, or the same channel for a case that it can't wait for.",
    cure: "Give it 1 to 64 cases.",
  },
};

export const channelError: ErrorFactory<ChannelErrorCode> = errorFactory(channelErrors);
