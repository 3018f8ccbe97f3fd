/** A strand: one running program of a search. Owned by `Search`; programs never see it. */
import { graver, tooFew } from "./operations.ts";
import type { Answer, Ask, GroupKey, Loss, Program, Rollout, Settled, Verdict } from "./program.ts";

/** How a strand goes on: with a value, or with a loss thrown into it. */
export interface Resume {
  readonly strand: Strand;
  readonly value: unknown;
  readonly loss: Loss | null;
}

/** An ask that a join waits for. */
export interface Pending {
  readonly ask: Ask;
  readonly join: Join;
  /** Its position in the join. */
  readonly index: number;
  /** The step that asked it. */
  readonly step: number;
  arrived: Answer | { readonly kind: "loss"; readonly loss: Loss } | null;
  isWithdrawn: boolean;
}

export class Strand {
  /** "0" for the root, `parent.k` for the k-th strand that its parent started. */
  readonly path: string;
  readonly program: Program<unknown>;
  /** Where it settles; null for the root. */
  readonly home: { readonly group: MemberGroup; readonly index: number } | null;
  /** What it asked last; all settled unless it waits for it. */
  join: Join | null = null;
  steps = 0;
  spawned = 0;
  isOver = false;
  #groups: Map<GroupKey, MemberGroup> | null = null;

  constructor(path: string, program: Program<unknown>, home: Strand["home"]) {
    this.path = path;
    this.program = program;
    this.home = home;
  }

  /** This strand's state of a group; made on first use. */
  group(key: GroupKey): MemberGroup {
    this.#groups ??= new Map();
    let group = this.#groups.get(key);
    if (group === undefined) this.#groups.set(key, (group = new MemberGroup(this)));
    return group;
  }

  /** The strands directly below it that still run. */
  *members(): Generator<Strand, void> {
    for (const group of this.#groups?.values() ?? []) yield* group.running.values();
  }
}

/** The members of a group, and the mailbox in which they settle. */
export class MemberGroup {
  readonly owner: Strand;
  readonly running = new Map<number, Strand>();
  added = 0;
  #mailbox: Settled<unknown>[] = [];
  #read = 0;
  #isAwaited = false;

  constructor(owner: Strand) {
    this.owner = owner;
  }

  /**
   * The next settled member, null in its place when none can come; null as a whole when the owner has to
   * wait.
   */
  take(): Resume | null {
    const mail = this.#mailbox[this.#read];
    if (mail !== undefined) {
      this.#read++;
      if (this.#read === this.#mailbox.length) {
        this.#mailbox = [];
        this.#read = 0;
      }
      return { strand: this.owner, value: mail, loss: null };
    }
    if (this.running.size === 0) return { strand: this.owner, value: null, loss: null };
    this.#isAwaited = true;
    return null;
  }

  /** Settles a member; wakes the owner if it waits for one. */
  put(settled: Settled<unknown>): Resume | null {
    if (this.#isAwaited) {
      this.#isAwaited = false;
      return { strand: this.owner, value: settled, loss: null };
    }
    this.#mailbox.push(settled);
    return null;
  }
}

/** The asks of one effect, which resume their strand together. */
export class Join {
  readonly strand: Strand;
  readonly asks: Pending[] = [];
  readonly #size: number;
  readonly #minimum: number;
  readonly #isBulk: boolean;
  readonly #arrived: (Rollout | Verdict | undefined)[];
  #settled = 0;
  #found = 0;

  constructor(
    strand: Strand,
    { size, minimum, isBulk }: { readonly size: number; readonly minimum: number; readonly isBulk: boolean },
  ) {
    this.strand = strand;
    this.#size = size;
    this.#minimum = minimum;
    this.#isBulk = isBulk;
    this.#arrived = Array.from({ length: size });
    strand.join = this;
  }

  /** Takes what arrived for one ask; resumes the strand when it was the last. */
  settle({ ask, index, arrived }: Pending): Resume | null {
    if (arrived?.kind === "rollout") this.#arrived[index] = { ...arrived.rollout, ask: ask.id, index };
    if (arrived?.kind === "verdict") this.#arrived[index] = arrived.verdict;
    if (arrived?.kind !== "loss") this.#found++;
    this.#settled++;
    return this.#settled === this.#size ? this.#resume() : null;
  }

  #resume(): Resume {
    const { strand } = this;
    if (this.#found < this.#minimum) return { strand, value: undefined, loss: this.#loss() };
    const found = this.#arrived.filter((one) => one !== undefined);
    return { strand, value: this.#isBulk ? found : found[0], loss: null };
  }

  /** Told by index, so the same whatever the order of arrival. */
  #loss(): Loss {
    let loss: Loss | null = null;
    for (const { arrived } of this.asks) if (arrived?.kind === "loss") loss = graver(loss, arrived.loss);
    if (!this.#isBulk && loss !== null) return loss;
    return tooFew({ arrived: this.#found, minimum: this.#minimum, asked: this.#size, loss });
  }
}
