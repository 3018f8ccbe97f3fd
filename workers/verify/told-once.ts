/** Messages that many may have a reason to give, each told once. */

/** Different messages that are told; a message that differs each time must not fill a log. */
const TOLD_MAX = 20;

export function toldOnce(tell: (message: string) => void): (message: string) => void {
  const told = new Set<string>();
  return (message) => {
    if (told.has(message) || told.size >= TOLD_MAX) return;
    told.add(message);
    tell(message);
  };
}
