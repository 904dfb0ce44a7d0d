import { baseError } from "./errors.ts";

/**
 * Throws `ERR_RUNTIME_UNSUPPORTED` under Deno: its ports of worker threads lack methods, so that no
 * runtime could be closed, and the native part of a journal ends its process. Locks and channels
 * don't ask.
 */
export function checkRuntime(): void {
  const { Deno: deno } = globalThis as { Deno?: { readonly version?: { readonly deno?: string } } };
  if (deno === undefined) return;
  const version = deno.version?.deno ?? "unknown";
  throw baseError("ERR_RUNTIME_UNSUPPORTED", `Millrace doesn't run under Deno (${version})`, {
    details: { runtime: "Deno", version },
  });
}
