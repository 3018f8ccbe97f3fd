/**
 * Asks of a task that are about the same path: one is sent to a host, the others take its answer. So an equal path is judged
 * once, however many rollouts came to it, and what that costs does not depend on arrival (I4). Pure.
 */
import { NO_TOKENS } from "../queue/job.ts";
import type { Prefix, VerifyAsk } from "../search/program.ts";
import type { OpenAsk } from "./backlog.ts";
import type { AnswerEntry } from "./journal-entry.ts";
import { NOTHING } from "./amount.ts";

/** An ask with the answer of an equal one. */
export interface Echo {
  readonly open: OpenAsk;
  readonly entry: AnswerEntry;
}

interface Group {
  /** The one that is sent; null once it has answered. */
  sent: OpenAsk | null;
  answer: AnswerEntry | null;
  readonly waiting: Set<OpenAsk>;
}

export class EqualAsks {
  readonly #groups = new Map<Prefix, Map<string, Group>>();
  #echoes: Echo[] = [];

  /** @returns Whether this ask is to be sent; else it waits for an equal one, or has its answer (`takeEchoes`). */
  join(ask: VerifyAsk, open: OpenAsk): boolean {
    const group = this.#groupOf(ask);
    if (group.answer !== null) this.#echo(open, group.answer);
    else if (group.sent !== null) group.waiting.add(open);
    else {
      group.sent = open;
      return true;
    }
    return false;
  }

  /** An ask has its answer: so have those that waited for it. */
  answered(ask: VerifyAsk, entry: AnswerEntry): void {
    const group = this.#groupOf(ask);
    group.sent = null;
    group.answer ??= entry;
    for (const open of group.waiting) this.#echo(open, group.answer);
    group.waiting.clear();
  }

  /** An ask is not wanted any more, or lost. @returns The one that is to be sent in its place, if any. */
  left(ask: VerifyAsk, open: OpenAsk): OpenAsk | null {
    const group = this.#groupOf(ask);
    group.waiting.delete(open);
    if (group.sent !== open) return null;
    const [next = null] = group.waiting;
    if (next !== null) group.waiting.delete(next);
    group.sent = next;
    return next;
  }

  /** What has come to have an answer since the last call. */
  takeEchoes(): readonly Echo[] {
    const echoes = this.#echoes;
    this.#echoes = [];
    return echoes;
  }

  #echo(open: OpenAsk, answer: AnswerEntry): void {
    this.#echoes.push({ open, entry: { ...answer, ask: open.ask.id, usage: NO_TOKENS, charge: NOTHING } });
  }

  #groupOf({ prefix, role, tool }: VerifyAsk): Group {
    let groups = this.#groups.get(prefix);
    if (groups === undefined) this.#groups.set(prefix, (groups = new Map()));
    const key = `${role} ${tool}`;
    let group = groups.get(key);
    if (group === undefined) groups.set(key, (group = { sent: null, answer: null, waiting: new Set() }));
    return group;
  }
}

/** What a host judges is judged once for equal paths; other verifiers remember what they judged themselves. */
export function isShared(open: OpenAsk): open is OpenAsk & { readonly ask: VerifyAsk } {
  return open.ask.kind === "verify" && open.route.kind === "host";
}
