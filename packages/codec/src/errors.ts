import { errorFactory, type ErrorFactory, type ErrorTable } from "@millrace/base";

export type CodecErrorCode = "ERR_VALUE_UNSUPPORTED" | "ERR_VALUE_TOO_LARGE" | "ERR_VALUE_MEMORY" | "ERR_VALUE_CORRUPT";

export const codecErrors: ErrorTable<CodecErrorCode> = {
  ERR_VALUE_UNSUPPORTED: {
    cause:
      "A value holds a part that can't become bytes: a function, a symbol, a promise, a port, " +
      "shared memory, a detached buffer. `details.path` names it.",
    cure: "Send plain data: what structuredClone() takes, without ports and shared memory.",
  },
  ERR_VALUE_TOO_LARGE: {
    cause: "The encoded value has more bytes than a buffer of Node can hold.",
    cure: "Send it in parts, or write it to a file and send the file's name.",
  },
  ERR_VALUE_MEMORY: {
    cause:
      "The operating system gave no memory to encode or decode a value; `details.bytes` says " +
      "how much was needed, if it is known.",
    cure: "Raise the memory limit of the process or container, or hold fewer and smaller values at once.",
  },
  ERR_VALUE_CORRUPT: {
    cause: "Bytes are not an encoded value.",
    cure: "Check that they were written by the same format; for a journal run `millrace journal verify`.",
  },
};

export const codecError: ErrorFactory<CodecErrorCode> = errorFactory(codecErrors);
