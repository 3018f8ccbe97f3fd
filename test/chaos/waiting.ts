/** Waiting for what other processes do, which nobody tells of. */

const POLL_MS = 50;

/** Asks again and again. @returns Whether it came true in time. */
export async function untilTrue(ask: () => boolean | Promise<boolean>, limitMs: number): Promise<boolean> {
  const deadlineMs = performance.now() + limitMs;
  while (!(await ask())) {
    if (performance.now() > deadlineMs) return false;
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
  return true;
}
