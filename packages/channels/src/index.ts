export type { BlockOptions } from "@millrace/atomics-sync/kernel";
export { Chan, type Received } from "./chan.ts";
export { channelErrors } from "./errors.ts";
export {
  after,
  type AfterCase,
  otherwise,
  type OtherwiseCase,
  receive,
  recv,
  type ReceiveCase,
  select,
  selectAsync,
  type SelectCase,
  type Selected,
  type SelectOptions,
  send,
  type SendCase,
} from "./select.ts";
