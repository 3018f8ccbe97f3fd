/** Limits of the link (I7), with their defaults; `link-wire.ts` and both ends of `grpc-link.ts` keep to them. */
export interface LinkLimits {
  /** Reports given to a link and not yet acknowledged; further ones wait their turn. */
  readonly unacknowledgedMax: number;
  /** ... and their size, in bytes. One report is always let in. */
  readonly unacknowledgedBytesMax: number;
  /** Reports in one message. */
  readonly batchMax: number;
  /** ... and their size, in bytes. */
  readonly batchBytesMax: number;
  /** While reports are in flight, how long one waits for others to share its message. */
  readonly flushMs: number;
  /** Of one report, in bytes; a larger one is refused at once and for good. */
  readonly reportBytesMax: number;
  /** Ids in one request for segments; longer lists are split. */
  readonly segmentsPerCallMax: number;
  /** Size of one answer with segments, in bytes; the rest is asked for again. */
  readonly segmentsBytesMax: number;
  /** How long `segments` tries while the coordinator cannot be reached. */
  readonly segmentsDeadlineMs: number;
  /** First and last back-off before a lost line is opened again or a refused report is sent again. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** How long `close` waits for the coordinator to take the goodbye. */
  readonly leaveDeadlineMs: number;
  /** Coordinator's side: reports of one line that are being made durable; the line is not read further meanwhile. */
  readonly acceptingMax: number;
  /** Coordinator's side: messages waiting for a worker that does not read; its line is then ended. */
  readonly unreadMax: number;
  /** Coordinator's side: workers registered at once. */
  readonly workersMax: number;
}

export const DEFAULT_LINK_LIMITS: LinkLimits = {
  unacknowledgedMax: 1_024,
  unacknowledgedBytesMax: 64 * 1024 * 1024,
  batchMax: 64,
  batchBytesMax: 1024 * 1024,
  flushMs: 2,
  reportBytesMax: 6 * 1024 * 1024,
  segmentsPerCallMax: 1_024,
  segmentsBytesMax: 4 * 1024 * 1024,
  segmentsDeadlineMs: 30_000,
  backoffMinMs: 100,
  backoffMaxMs: 5_000,
  leaveDeadlineMs: 2_000,
  acceptingMax: 4_096,
  unreadMax: 10_000,
  workersMax: 10_000,
};
