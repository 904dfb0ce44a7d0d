/**
 * Requests that other sites make a browser send. A token is in no cookie, so they can't change or
 * read anything that needs one. Routes that need none on this machine refuse these requests as
 * well.
 */
import type { IncomingHttpHeaders } from "node:http";
import { serverError } from "../errors.ts";

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i;

/**
 * Throws `ERR_PAGE_ORIGIN`. `isLoopback`: the server listens on this machine alone. Then a name
 * that isn't its own is one that somebody else has pointed here (DNS rebinding).
 */
export function mustBeOwnName({ host = "" }: IncomingHttpHeaders, isLoopback: boolean): void {
  if (!isLoopback || LOOPBACK.test(host)) return;
  throw serverError("ERR_PAGE_ORIGIN", `${host.slice(0, 100)} is no name of this machine`);
}

/** Throws `ERR_PAGE_ORIGIN`. A program sends neither of these headers. */
export function mustBeOwnSite({ host = "", origin, "sec-fetch-site": site }: IncomingHttpHeaders): void {
  const isForeign = site !== undefined && site !== "same-origin" && site !== "none";
  if (!isForeign && (origin === undefined || hostOf(origin) === host.toLowerCase())) return;
  throw serverError("ERR_PAGE_ORIGIN", "another site has made the browser send this request");
}

function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}
