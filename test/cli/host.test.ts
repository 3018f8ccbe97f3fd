/** `coppice host`, as a person starts it. */
import { afterAll, expect, test } from "vitest";
import { folder, run, start } from "./command.ts";

const place = folder({});
afterAll(() => place.remove());

test("serves a simulated host from its ready line on until it is told to end", async () => {
  const host = start(place.path, "host", "--port", "0", "--speed", "200", "--kv-tokens", "32000");
  await expect.poll(() => host.text(), { timeout: 20_000 }).toContain("\n");
  const said = /^host "simulated" \(8b-h100, 200 x real time\) on (http:\/\/127\.0\.0\.1:\d+)\n/.exec(
    host.text(),
  );
  expect(said).not.toBeNull();
  const answer = await fetch(`${said?.[1]}/v1/models`);
  expect(await answer.json()).toMatchObject({ data: [{ id: "simulated", max_model_len: 32_000 }] });
  const open = fetch(`${said?.[1]}/v1/completions`, {
    method: "POST",
    body: JSON.stringify({ prompt: "a", max_tokens: 30_000, ignore_eos: true }),
  });
  const isAnswered = open.then(
    (response) => response.ok,
    () => false,
  );
  await expect.poll(async () => (await fetch(`${said?.[1]}/metrics`)).text()).toMatch(/running\{.*\} 1\n/);
  host.child.kill("SIGTERM");
  expect(await isAnswered).toBe(false);
  expect((await host.ended).status).toBe(0);
});

test.each([
  [["--profile", "8b-b200"], /--profile.*Allowed choices are 8b-h100/],
  [["--speed", "0"], /--speed.*Expected a number above 0/],
  [["--port", "70000"], /--port.*Expected a port from 0 to 65535/],
  [["--kv-tokens", "some"], /--kv-tokens.*Expected a whole number from 1/],
  [
    ["--kv-tokens", "3"],
    /kvCapacityTokens to be a whole number of at least one block \(16 tokens\), found 3/,
  ],
])("refuses %s with what was expected", async (options, message) => {
  const { status, said } = await run(place.path, "host", ...options);
  expect(status).toBe(1);
  expect(said).toMatch(message);
});
