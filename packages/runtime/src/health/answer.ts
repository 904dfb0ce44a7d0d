/** The answers of `/health/live`, `/health/ready` and `/health/started`, for any HTTP server. */
import { version } from "./version.ts";
import { type HealthGroup, isAgainst } from "./groups.ts";
import type { HealthReason, MillraceHealth } from "./health.ts";
import type { ProbeResult, Probes } from "./probes.ts";

export interface HealthAnswer {
  readonly status: 200 | 503;
  readonly headers: Readonly<Record<string, string>>;
  /** To be sent as JSON. */
  readonly body: HealthBody;
}

/** A reason, or a probe that is down; text and figures only if they were asked for. */
export interface HealthNote {
  readonly code: string;
  readonly text?: string;
  readonly details?: HealthReason["details"];
}

export interface HealthBody {
  readonly status: "UP" | "DOWN";
  readonly group: HealthGroup;
  readonly version: string;
  /** Why it is down. */
  readonly reasons: readonly HealthNote[];
  /** Faults that don't make the status "DOWN". */
  readonly warnings: readonly HealthNote[];
}

export interface HealthAnswerOptions {
  /** Asked for readiness only. */
  readonly probes?: Probes | undefined;
  /**
   * Texts and figures too; they name paths and counts, so they aren't for everyone. Default false.
   */
  readonly isVerbose?: boolean;
}

/** Seconds after which a client may ask again. */
const RETRY_AFTER_SECONDS = "1";
const NO_ANSWER_YET: MillraceHealth = { status: "down", reasons: [] };

/** `mill`: undefined while `open` is under way; nothing is started or ready then. Never rejects. */
export async function healthAnswer(
  mill: { health(): MillraceHealth } | undefined,
  group: HealthGroup,
  { probes, isVerbose = false }: HealthAnswerOptions = {},
): Promise<HealthAnswer> {
  const { reasons } = mill?.health() ?? NO_ANSWER_YET;
  const results = group === "ready" && mill !== undefined ? await probes?.results() : undefined;
  const downs = (results ?? []).filter(({ status }) => status === "down");
  const against = [
    ...(mill === undefined && group !== "live" ? [STARTING] : []),
    ...reasons.filter((reason) => isAgainst(group, reason)),
    ...downs.filter(({ isRequired }) => isRequired).map(probeReason),
  ];
  const warnings = [
    ...reasons.filter((reason) => !isAgainst(group, reason)),
    ...downs.filter(({ isRequired }) => !isRequired).map(probeReason),
  ];
  const tell = (told: readonly HealthNote[]): HealthNote[] =>
    told.map(({ code, text, details }) => (isVerbose ? { code, text: text ?? "", details: details ?? {} } : { code }));
  const isDown = against.length > 0;
  return {
    status: isDown ? 503 : 200,
    headers: {
      "content-type": "application/json; charset=utf-8",
      "cache-control": "no-store",
      ...(isDown ? { "retry-after": RETRY_AFTER_SECONDS } : {}),
    },
    body: {
      status: isDown ? "DOWN" : "UP",
      group,
      version: version(),
      reasons: tell(against),
      warnings: tell(warnings),
    },
  };
}

const STARTING: HealthNote = { code: "STARTING", text: "the runtime is being opened" };

function probeReason({ name, reason = "", tookMs }: ProbeResult): HealthNote {
  return { code: `PROBE:${name}`, text: reason, details: { tookMs } };
}
