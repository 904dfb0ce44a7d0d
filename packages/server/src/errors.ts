import { errorFactory, type ErrorFactory, type ErrorTable } from "@millrace/base";

export type ServerErrorCode =
  | "ERR_BODY_TAKEN"
  | "ERR_PAGE_BUSY"
  | "ERR_PAGE_FILES"
  | "ERR_PAGE_ORIGIN"
  | "ERR_RECORD_UNKNOWN"
  | "ERR_REQUEST_INVALID"
  | "ERR_REQUEST_MALFORMED"
  | "ERR_REQUEST_RATE"
  | "ERR_REQUEST_ROUTE"
  | "ERR_REQUEST_TIMEOUT"
  | "ERR_REQUEST_TOO_LARGE"
  | "ERR_REQUEST_TYPE"
  | "ERR_SERVER_DRAINING"
  | "ERR_SERVER_EXPOSED"
  | "ERR_SERVER_LISTEN"
  | "ERR_TOKEN_FILE"
  | "ERR_TOKEN_REFUSED"
  | "ERR_TOKEN_SCOPE";

export const serverErrors: ErrorTable<ServerErrorCode> = {
  ERR_BODY_TAKEN: {
    cause: "A parser in front of Millrace's request handler has read the request's body.",
    cure: "Mount the request handler before body parsers such as express.json().",
  },
  ERR_PAGE_BUSY: {
    cause: "Too many live pages are open, or a search for a text in dead letters runs already.",
    cure: "Close a page, or ask again when the search has ended.",
  },
  ERR_PAGE_FILES: {
    cause: "A file of the live page, or of a library that it uses, isn't where the package has it.",
    cure: "Install the package anew; a bundle has to leave @millrace/server outside. `page: false` serves no page.",
  },
  ERR_PAGE_ORIGIN: {
    cause: "A request to the live page came by a foreign name, or another site made the browser send it.",
    cure: "Open the page by 127.0.0.1 or localhost. A proxy in front needs an adminHost that isn't this machine alone.",
  },
  ERR_RECORD_UNKNOWN: {
    cause: "No record of a handler has the sequence that was asked for.",
    cure: "Ask with a sequence that a publish was answered with.",
  },
  ERR_REQUEST_INVALID: {
    cause: "A request names an option that doesn't exist, names one twice, or gives it a value outside its range.",
    cure: "Correct what the message names. Nothing of the request is stored.",
  },
  ERR_REQUEST_MALFORMED: {
    cause:
      "What was sent isn't HTTP, a frame or JSON, isn't UTF-8, or has a number that JavaScript would alter. details.position counts bytes from 0.",
    cure: "Correct the place that the message names; send large numbers as texts. The record isn't stored.",
  },
  ERR_REQUEST_RATE: {
    cause: "More requests have come from this address than requestsPerSecondMax. Nothing is stored.",
    cure: "Send it again after retryAfterMs, several records at once, or raise the limit.",
  },
  ERR_REQUEST_ROUTE: {
    cause: "The server has nothing at this path and method.",
    cure: "See docs/serve.md for what it has.",
  },
  ERR_REQUEST_TIMEOUT: {
    cause: "A request or a frame had not arrived in full when its time was over. It isn't stored.",
    cure: "Send it faster, or raise requestTimeoutMs.",
  },
  ERR_REQUEST_TOO_LARGE: {
    cause: "A request, a frame or its headers are larger than the server takes, or have more lines. Nothing is stored.",
    cure: "Send less at once, or raise bodyBytesMax or linesMax.",
  },
  ERR_REQUEST_TYPE: {
    cause: "A request's body has another type, character set or encoding than the server reads.",
    cure: "Send application/json or application/x-ndjson in UTF-8, without Content-Encoding.",
  },
  ERR_SERVER_DRAINING: {
    cause: "The server is about to end and takes no new record. The record isn't stored.",
    cure: "Send it again, to another instance or after the restart.",
  },
  ERR_SERVER_EXPOSED: {
    cause: "The server was asked to listen beyond this machine although nobody would need a token.",
    cure: "Give tokenFile, or a client authority for TLS, or listen on 127.0.0.1. insecureNoAuth admits everybody.",
  },
  ERR_SERVER_LISTEN: {
    cause: "The server can't listen there: the port or path is taken or not allowed, or a TLS file can't be used.",
    cure: "Look at the cause. Choose another port, or correct the file.",
  },
  ERR_TOKEN_FILE: {
    cause: "The file with the tokens can't be read, or a line of it isn't `sha256:HEX SCOPES`.",
    cure: "Correct the line that the message names. A server that runs goes on with the tokens that it has read before.",
  },
  ERR_TOKEN_REFUSED: {
    cause: "A request has no token, or one that isn't in the file.",
    cure: "Send `Authorization: Bearer TOKEN`; through a socket, a first frame with `token`.",
  },
  ERR_TOKEN_SCOPE: {
    cause: "The token is known, but may not do this.",
    cure: "Use a token with the scope that details.scope names, or add the scope to its line.",
  },
};

export const serverError: ErrorFactory<ServerErrorCode> = errorFactory(serverErrors);
