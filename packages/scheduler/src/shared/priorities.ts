/** The priorities of tasks, and which of them covers recovery. */

/** 0 is served first. */
export const PRIORITY = { high: 0, normal: 1, low: 2 } as const;
export type Priority = keyof typeof PRIORITY;

export const PRIORITIES = 3;

/** The priority whose outbox flags also cover the recovery outbox. */
export const RECOVERY_PRIORITY: number = PRIORITY.normal;
