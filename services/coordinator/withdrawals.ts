/** Tells workers of asks that nobody wants any more, and stops waiting for their word on what those had cost after a while. */
import type { Clock } from "../runtime/clock.ts";
import type { OpenAsk } from "./backlog.ts";

export interface WithdrawalOptions {
  readonly clock: Clock;
  /** How long a worker's word is waited for. */
  readonly patienceMs: number;
  /** Tells whoever may hold the job. */
  readonly withdraw: (job: string, asks: readonly string[]) => void;
}

export class Withdrawals {
  readonly #options: WithdrawalOptions;

  constructor(options: WithdrawalOptions) {
    this.#options = options;
  }

  /** @param onSilence Called with each of them when the time is over; some may be settled by then. */
  tell(asks: readonly OpenAsk[], onSilence: (open: OpenAsk) => void): void {
    if (asks.length === 0) return;
    const { clock, patienceMs, withdraw } = this.#options;
    for (const [job, group] of Map.groupBy(asks, (open) => open.job)) {
      if (job === null) continue;
      withdraw(
        job,
        group.map((open) => open.ask.id),
      );
    }
    clock.after(patienceMs, () => asks.forEach(onSilence));
  }
}
