// fast-check with the same seed in every run, so that a red one means that something was changed.
// Other seeds: MILLRACE_PROPERTY_SEED=N.
import fc from "fast-check";

const SEED = 20260713;

fc.configureGlobal({ seed: Number(process.env["MILLRACE_PROPERTY_SEED"] ?? SEED) });

export default fc;
