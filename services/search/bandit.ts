/** How urgent it is to go on below a child of a search tree: its value, and what is not known of it yet. */

export interface Counts {
  /** Visits of the node, and of its child. */
  readonly parent: number;
  readonly child: number;
  /** The weight of exploration. */
  readonly explore: number;
}

/** UCT: Q(s') + c sqrt(ln N(s) / N(s')). */
export function uct(value: number, { parent, child, explore }: Counts): number {
  return value + explore * Math.sqrt(Math.log(parent) / child);
}

/**
 * WU-UCT, equation 4: V(s') + beta sqrt(2 ln(N(s) + O(s)) / (N(s') + O(s'))). Each count is N + O of its
 * node.
 */
export function wuUct(value: number, { parent, child, explore }: Counts): number {
  return value + explore * Math.sqrt((2 * Math.log(parent)) / child);
}

/** OpenR's, after AlphaZero. */
const PUCT_BASE = 19_652;
const PUCT_INIT = 1.25;

/** PUCT: Q(s') + c(s) P(s') sqrt(N(s)) / (1 + N(s')), c(s) = ln((N(s) + 19652 + 1) / 19652) + 1.25, times `explore`. */
export function puct(
  value: number,
  { parent, child, explore, prior }: Counts & { readonly prior: number },
): number {
  const weight = Math.log((parent + PUCT_BASE + 1) / PUCT_BASE) + PUCT_INIT;
  return value + (explore * weight * prior * Math.sqrt(parent)) / (1 + child);
}
