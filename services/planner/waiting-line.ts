/**
 * The asks of a task that wait for a host, in the order of the coordinator's `Backlog`: deepest paths first,
 * of one depth first come, first served; siblings are taken together. Not the Backlog itself, whose asks
 * carry jobs and reservations.
 */
import type { VirtualRequest } from "./synthetic-task.ts";

export class WaitingLine {
  readonly #lines: (VirtualRequest[] | undefined)[] = [];
  readonly #members = new Set<VirtualRequest>();

  get size(): number {
    return this.#members.size;
  }

  push(request: VirtualRequest): void {
    (this.#lines[request.ask.prefix.depth] ??= []).push(request);
    this.#members.add(request);
  }

  forget(request: VirtualRequest): void {
    this.#members.delete(request);
  }

  /** What goes next; null when nothing waits. */
  head(): VirtualRequest | null {
    for (let line = this.#lines.at(-1); this.#lines.length > 0; line = this.#lines.at(-1)) {
      // Forgotten ones are let go of when they come first; lines are short, so that shifting is cheap.
      for (let [first] = line ?? []; first !== undefined; [first] = line ?? []) {
        if (this.#members.has(first)) return first;
        line?.shift();
      }
      this.#lines.pop();
    }
    return null;
  }

  /** Up to `max` from the head on that are its siblings; verifications go together whatever they judge. */
  takeSiblings(max: number): readonly VirtualRequest[] {
    const taken: VirtualRequest[] = [];
    for (let next = this.head(); next !== null && taken.length < max; next = this.head()) {
      const [first] = taken;
      if (first !== undefined && !isSibling(first, next)) break;
      taken.push(next);
      this.#members.delete(next);
    }
    return taken;
  }
}

function isSibling({ ask: a }: VirtualRequest, { ask: b }: VirtualRequest): boolean {
  if (a.kind === "sample") return b.kind === "sample" && a.prefix === b.prefix;
  return b.kind === "verify" && a.role === b.role && a.tool === b.tool;
}
