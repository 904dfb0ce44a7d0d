export { cliErrors } from "./errors.ts";
export { EXIT } from "./terminal/exit-codes.ts";
export { main } from "./main.ts";
