export { checkServer } from "./check.ts";
export { serverErrors } from "./errors.ts";
export type { RequestHandler } from "./http/app.ts";
export type { EndOptions, RequestOptions, ServerOptions, TlsFilesOptions } from "./options.ts";
export type { AdminAction } from "./page/routes.ts";
export { createRequestHandler, createServer, type RecordServer, type ServerState } from "./server.ts";
