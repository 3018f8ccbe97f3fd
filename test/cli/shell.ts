/** A shell whose words are kept, with a clock that the test moves. */
import type { Shell } from "../../services/cli/shell.ts";
import { createVirtualClock, type VirtualClock } from "../support/virtual-clock.ts";

export interface TestShell extends Shell {
  readonly clock: VirtualClock;
  readonly outLines: readonly string[];
  readonly saidLines: readonly string[];
  /** What stands on the terminal's last line. */
  readonly live: () => string;
}

export function createTestShell(
  options: { readonly isTerminal?: boolean; readonly cwd?: string; readonly columns?: number } = {},
): TestShell {
  const outLines: string[] = [];
  const saidLines: string[] = [];
  let live = "";
  return {
    cwd: options.cwd ?? "/here",
    env: {},
    clock: createVirtualClock(),
    process: { pid: 1, on: () => undefined, off: () => undefined, exit: () => undefined },
    program: "coppice",
    isTerminal: options.isTerminal ?? false,
    columns: () => options.columns ?? 80,
    out: (line) => void outLines.push(line),
    say: (line) => void saidLines.push(line),
    redraw: (line) => {
      live = line;
    },
    outLines,
    saidLines,
    live: () => live,
  };
}
