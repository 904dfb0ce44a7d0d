import type { DeliveredRecord, PublishNow, PublishWithEnd } from "@millrace/intake";
import type { Handler, TaskContext as AnyTaskContext } from "@millrace/scheduler";

/**
 * The second argument of a handler. `Handlers` is the type of the module, for `publish`, `run`,
 * `spawn` and groups: `import type * as handlers from "./handlers.ts"`, then
 * `Context<typeof handlers>`; such a handler must declare its return type.
 */
export type Context<Handlers = Record<string, Handler>> = AnyTaskContext<Handlers, DeliveredRecord> &
  Publishing<Handlers>;

/** How the handler of a record publishes records together with its end. */
export interface Publishing<Handlers> {
  /**
   * Publishes records together with the end of the one that this task delivers:
   * `context.publish.mail(letter, options)` puts a record aside and returns at once. All of them
   * become durable together with the end of this record. If this attempt fails, none does. Throws
   * `ERR_STAGE_TOO_LARGE`, `ERR_VALUE_UNSUPPORTED`, `ERR_INVALID_OPTION`, `ERR_HANDLER_UNKNOWN`,
   * and `ERR_RECORD_ABSENT` in a task that delivers no record.
   */
  readonly publish: PublishWithEnd<Handlers>;
  /**
   * Publishes a record at once: resolves when it is on disk, even if this attempt fails later. So
   * another attempt publishes it again, unless it has an `idempotencyKey`. Rejects as a publish
   * does, and with `ERR_BLOCKING_CONTEXT` in quarantine.
   */
  readonly publishNow: PublishNow<Handlers>;
}

/** Another name of `Context`. */
export type TaskContext<Handlers = Record<string, Handler>> = Context<Handlers>;
