/** What the agent's commands end with; scripts and systemd read them. */
export const EXIT = {
  ok: 0,
  /** The command could not do its work; what to do stands on standard error. */
  failed: 1,
  /** check: there are blockers. status: there are alarms. */
  findings: 2,
  /** gate: the server is fenced and must not start. */
  fenced: 3,
} as const;
