import { errorFactory, type ErrorFactory, type ErrorTable } from "@millrace/base";

export type CodecErrorCode = "ERR_VALUE_UNSUPPORTED" | "ERR_VALUE_CORRUPT";

export const codecErrors: ErrorTable<CodecErrorCode> = {
  ERR_VALUE_UNSUPPORTED: {
    cause: "A value holds something that can't become bytes: a function, a symbol, a promise, a port, shared memory.",
    cure: "Send plain data: what structuredClone() takes, without ports and shared memory.",
  },
  ERR_VALUE_CORRUPT: {
    cause: "Bytes are not an encoded value.",
    cure: "Check that they were written by the same format; for a journal run `millrace journal verify`.",
  },
};

export const codecError: ErrorFactory<CodecErrorCode> = errorFactory(codecErrors);
