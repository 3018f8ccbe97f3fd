/**
 * The segments of one task: what its jobs name instead of carrying texts. Retains each once; the runner releases `ids` when the
 * task is over.
 */
import type { PromptPiece, RolloutResult, Segment, SegmentId, VerdictResult } from "../queue/job.ts";
import type { AskId, Prefix, VerifyAsk } from "../search/program.ts";
import { segmentId } from "./segment-store.ts";

export interface TaskSegmentsOptions {
  /** The rendered prompt. */
  readonly root: Prefix;
  /** Called once per segment that the task's jobs may name. */
  readonly retain: (segment: Segment) => void;
  /** What an ask was answered, once the program has been told. */
  readonly resultOf: (ask: AskId) => RolloutResult | VerdictResult | undefined;
}

export class TaskSegments {
  readonly #options: TaskSegmentsOptions;
  readonly #sampled = new Map<Prefix, SegmentId>();
  readonly #addresses = new Map<Prefix, SegmentId>();
  readonly #written = new Map<string, SegmentId>();

  constructor(options: TaskSegmentsOptions) {
    this.#options = options;
  }

  /** All that the task retains. */
  get ids(): readonly SegmentId[] {
    return [...this.#sampled.values(), ...this.#written.values()];
  }

  /** The segments of a prefix, root first. */
  of(prefix: Prefix): readonly SegmentId[] {
    const ids: SegmentId[] = [];
    for (const node of pathOf(prefix)) {
      let id = this.#sampled.get(node);
      if (id === undefined) {
        const piece = this.#pieceOf(node);
        id = segmentId(ids.at(-1) ?? null, piece);
        this.#sampled.set(node, id);
        this.#options.retain({ id, ...piece });
      }
      ids.push(id);
    }
    return ids;
  }

  /** The segment that this result will be, if the program goes on from it as it stands. */
  continuationOf(prefix: Prefix, { text, tokens }: RolloutResult): SegmentId {
    return segmentId(this.of(prefix).at(-1) ?? null, tokens === undefined ? { text } : { text, tokens });
  }

  /**
   * What a verifier is shown of a path. A path behind a prompt that the program wrote is shown to the sweep's verifiers as
   * what was said behind it, of the problem's own prompt.
   */
  candidateOf(ask: VerifyAsk): readonly SegmentId[] {
    const { root } = this.#options;
    const path = this.of(ask.prefix);
    return isAsItStands(ask) ? path : [...this.of(root), ...path.slice(1)];
  }

  /** The same as texts: its prompt, and what was written behind that. */
  judgedTexts(ask: VerifyAsk): { readonly prompt: string; readonly text: string } {
    const [first, ...rest] = pathOf(ask.prefix).map(({ text }) => text);
    return { prompt: isAsItStands(ask) ? (first ?? "") : this.#options.root.text, text: rest.join("") };
  }

  /** The content address of a prefix's text alone: how records find it again, whatever tokens an engine made of it. */
  addressOf(prefix: Prefix): SegmentId {
    let address: SegmentId | null = null;
    for (const node of pathOf(prefix)) {
      const known: SegmentId = this.#addresses.get(node) ?? segmentId(address, { text: node.text });
      this.#addresses.set(node, known);
      address = known;
    }
    return address ?? "";
  }

  /** A segment of its own, no continuation of anything: the problem, or a verifier's specification. */
  written(text: string): SegmentId {
    let id = this.#written.get(text);
    if (id === undefined) {
      id = segmentId(null, { text });
      this.#written.set(text, id);
      this.#options.retain({ id, text });
    }
    return id;
  }

  /** With the token ids that it was sampled as, where its rollout is this whole piece and the engine said them. */
  #pieceOf({ text, ask }: Prefix): PromptPiece {
    const result = ask === null ? undefined : this.#options.resultOf(ask);
    const isWhole = result?.kind === "rollout" && result.tokens !== undefined && result.text === text;
    return isWhole ? { text, tokens: result.tokens } : { text };
  }
}

/** Whether a path is shown with the prompt that it begins with. */
function isAsItStands({ role, prefix }: VerifyAsk): boolean {
  return role === "likelihood" || role === "tool" || prefix.depth + 1 === pathOf(prefix).length;
}

/** The pieces of a prefix, root first. */
export function pathOf(prefix: Prefix): readonly Prefix[] {
  const path: Prefix[] = [];
  for (let node: Prefix | null = prefix; node !== null; node = node.parent) path.push(node);
  return path.toReversed();
}
