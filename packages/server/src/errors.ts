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
    cause: "Too many live pages are open, or another search for a text in dead letters is running.",
    cure: "Close a page, or ask again when the search has ended.",
  },
  ERR_PAGE_FILES: {
    cause: "A file of the live page, or of a library that it uses, is missing from the package.",
    cure:
      "Install the package again, and leave @millrace/server out of a bundle. With `page: " +
      "false` the server has no page.",
  },
  ERR_PAGE_ORIGIN: {
    cause: "A request to the live page named another host than this machine, or another site made the browser send it.",
    cure: "Open the page at 127.0.0.1 or localhost. Behind a proxy, set an adminHost beyond this machine.",
  },
  ERR_RECORD_UNKNOWN: {
    cause: "No record of a handler has the sequence that was asked for.",
    cure: "Ask with a sequence from the answer to a publish.",
  },
  ERR_REQUEST_INVALID: {
    cause: "A request has an unknown option, an option twice, or a value outside its range.",
    cure: "Correct the option that the message names. Nothing of the request is stored.",
  },
  ERR_REQUEST_MALFORMED: {
    cause:
      "The request isn't HTTP, a frame or JSON, isn't UTF-8, or has a number that JavaScript " +
      "would alter. details.position counts bytes from 0.",
    cure: "Correct the place that the message names; send large numbers as texts. The record isn't stored.",
  },
  ERR_REQUEST_RATE: {
    cause: "This address has sent more requests than requestsPerSecondMax allows. Nothing is stored.",
    cure: "Send it again after retryAfterMs, several records at once, or raise the limit.",
  },
  ERR_REQUEST_ROUTE: {
    cause: "The server has nothing at this path and method.",
    cure: "docs/serve.md lists its paths and methods.",
  },
  ERR_REQUEST_TIMEOUT: {
    cause: "A request or a frame didn't arrive in full in time. It isn't stored.",
    cure: "Send it faster, or raise requestTimeoutMs.",
  },
  ERR_REQUEST_TOO_LARGE: {
    cause: "A request, a frame or its headers are too large, or a batch has too many lines. Nothing is stored.",
    cure: "Send less at once, or raise bodyBytesMax or linesMax.",
  },
  ERR_REQUEST_TYPE: {
    cause: "A request's body has another type, character set or encoding than the server reads.",
    cure: "Send application/json or application/x-ndjson in UTF-8, without Content-Encoding.",
  },
  ERR_SERVER_DRAINING: {
    cause: "The server is shutting down and takes no new record. The record isn't stored.",
    cure: "Send it again, to another instance or after the restart.",
  },
  ERR_SERVER_EXPOSED: {
    cause: "The server would listen beyond this machine, and nobody would need a token.",
    cure: "Set tokenFile, or a client authority for TLS, or listen on 127.0.0.1. insecureNoAuth admits everybody.",
  },
  ERR_SERVER_LISTEN: {
    cause: "The server can't listen there: the port or path is taken or not allowed, or a TLS file can't be used.",
    cure: "Look at the cause. Choose another port, or correct the file.",
  },
  ERR_TOKEN_FILE: {
    cause: "The file with the tokens can't be read, or a line of it isn't `sha256:HEX SCOPES`.",
    cure: "Correct the line that the message names. A running server keeps the tokens that it has read before.",
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
