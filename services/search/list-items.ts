/** Lists in a model's answer. Pure. */

/** `1.`, `2)`, `Q3:`, `-`, `*` and the like before an item. Without nested repetition, so linear. */
const MARK = /^(?:[A-Za-z]{0,12} ?\d{1,4}[.):]|[-*•])(?:\s+|$)/u;

/**
 * The items of a list, one a line, at most `max`. Lines with a number or a dash are the items, so that what a model says
 * before and after its list is left out; where no line has one, every line with text is an item.
 */
export function listItems(text: string, max: number): readonly string[] {
  const lines = text.split("\n").map((line) => line.trim());
  const marked = lines.filter((line) => MARK.test(line));
  const items = (marked.length > 0 ? marked : lines).map((line) => line.replace(MARK, ""));
  return items.filter((item) => item !== "").slice(0, max);
}
