import type { DeliveredRecord } from "@millrace/intake";
import type { Handler, TaskContext as AnyTaskContext } from "@millrace/scheduler";

/**
 * The second argument of a handler. `Handlers` is the type of the module, for `run`, `spawn` and
 * groups: `import type * as handlers from "./handlers.ts"`, then `Context<typeof handlers>`.
 */
export type Context<Handlers = Record<string, Handler>> = AnyTaskContext<Handlers, DeliveredRecord>;

/** Another name of `Context`. */
export type TaskContext<Handlers = Record<string, Handler>> = Context<Handlers>;
