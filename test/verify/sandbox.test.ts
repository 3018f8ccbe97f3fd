import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:fs";
import { appendFile, chmod, copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import { faultOf } from "../../workers/verify/sandbox/explanation.ts";
import { probeSandbox } from "../../workers/verify/sandbox/probe.ts";
import {
  DEFAULT_PROGRAM_LIMITS,
  type Language,
  type ProgramLimits,
  type ProgramOutcome,
} from "../../workers/verify/sandbox/program.ts";
import { SandboxPool } from "../../workers/verify/sandbox/sandbox-pool.ts";
import { findTools } from "../../workers/verify/sandbox/tools.ts";
import { NO_SANDBOX, processesNamed } from "../support/sandbox.ts";

const NAME = `hostile-${process.pid % 100_000}`;
const SEEN = { timeout: 30_000, interval: 20 };
/** Gives itself, and what it forks, a name that can be found from outside. */
const NAMED = `open("/proc/self/comm", "w").write("${NAME}")\n`;

interface Hostile {
  readonly about: string;
  readonly source: string;
  readonly language?: Language;
  readonly limits?: Partial<ProgramLimits>;
  /** Of the fault; null: none, the program ends well and has done no harm. */
  readonly fault: RegExp | null;
  readonly stdout?: string;
}

/** `HOST_FILE` and `HOST_PORT` stand for a file and a listening port of this machine. */
const HOSTILE: readonly Hostile[] = [
  {
    about: "a fork bomb",
    source: "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
    limits: { wallMs: 1_000 },
    fault: /ran longer than 1000 ms/,
  },
  {
    about: "a bomb of daemons that close what they inherit",
    source:
      "import os\nfor _ in range(40):\n  if os.fork() == 0:\n    os.setsid(); os.closerange(0, 256)\n    while True: pass",
    fault: null,
  },
  {
    about: "a memory hog",
    source: "hoard = []\nwhile True: hoard.append(bytearray(10 ** 7))",
    fault: /MemoryError/,
  },
  {
    about: "a memory hog of many processes",
    source:
      "import os, time\nfor _ in range(4): os.fork()\nhoard = os.urandom(1 << 20) * 100\ntime.sleep(60)",
    limits: { memoryMib: 256, wallMs: 30_000 },
    fault: /used more than 256 MiB of memory/,
  },
  {
    about: "an endless loop",
    source: "while True: pass",
    limits: { wallMs: 500 },
    fault: /ran longer than 500 ms/,
  },
  {
    about: "endless output",
    source: "while True: print('x' * 1000)",
    limits: { wallMs: 30_000 },
    fault: /wrote more than 65536 bytes/,
  },
  {
    about: "endless errors",
    source: "import sys\nwhile True: sys.stderr.write('x' * 1000)",
    limits: { wallMs: 30_000 },
    fault: /wrote more than 65536 bytes/,
  },
  { about: "reading a file of the host", source: "open('HOST_FILE')", fault: /FileNotFoundError/ },
  { about: "reading the host's passwords", source: "open('/etc/shadow')", fault: /FileNotFoundError/ },
  {
    about: "looking around",
    source: "import os\nprint(sorted(os.listdir('/')), os.listdir('/tmp'), 'SECRET' in os.environ)",
    fault: null,
    stdout: "['bin', 'dev', 'lib', 'lib64', 'opt', 'proc', 'tmp', 'usr'] ['program.py'] False\n",
  },
  {
    about: "opening a socket to this machine",
    source: "import socket\nsocket.create_connection(('127.0.0.1', HOST_PORT), 2)",
    fault: /ConnectionRefusedError/,
  },
  {
    about: "opening a socket to another machine",
    source: "import socket\nsocket.create_connection(('192.0.2.1', 80), 2)",
    fault: /OSError: .*unreachable/,
  },
  {
    about: "killing its parent",
    source:
      "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nos.kill(1, signal.SIGKILL)\nprint('alive')",
    fault: null,
    stdout: "alive\n",
  },
  {
    about: "killing all that it can",
    source:
      "import os, signal, time\nif os.fork() == 0: time.sleep(60)\nos.kill(-1, signal.SIGKILL)\nprint('alone')",
    fault: null,
    stdout: "alone\n",
  },
  {
    about: "sleeping past the limit",
    source: "import time\ntime.sleep(60)",
    limits: { wallMs: 300 },
    fault: /ran longer than 300 ms/,
  },
  {
    about: "sleeping past the limit deaf to signals",
    source:
      "import signal, time\nfor n in range(1, 32):\n  try: signal.signal(n, signal.SIG_IGN)\n  except OSError: pass\ntime.sleep(60)",
    limits: { wallMs: 300 },
    fault: /ran longer than 300 ms/,
  },
  {
    about: "writing 10 GB to one file",
    source: "with open('/tmp/much', 'wb') as file:\n  for _ in range(10_000): file.write(bytes(1_000_000))",
    fault: /OSError: .*(?:File too large|No space left)/,
  },
  {
    about: "writing 10 GB to many files",
    source: "for n in range(10_000):\n  with open(f'/tmp/{n}', 'wb') as file: file.write(bytes(1_000_000))",
    fault: /OSError: .*No space left/,
  },
  {
    about: "writing elsewhere",
    source: "open('/usr/bin/python3', 'ab')",
    fault: /Read-only file system|Permission denied/,
  },
  {
    about: "threads without end",
    source:
      "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    limits: { wallMs: 30_000 },
    fault: /can't start new thread/,
  },
  {
    about: "a fork bomb in JavaScript",
    language: "javascript",
    source:
      "const { spawn } = require('child_process');\nconst more = () => { spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e3)']).on('error', () => {}); setTimeout(more); };\nmore();",
    limits: { wallMs: 1_500 },
    fault: /ran longer than 1500 ms|used more than 512 MiB/,
  },
  {
    about: "a memory hog in JavaScript",
    language: "javascript",
    source: "const hoard = []; for (;;) hoard.push(Array.from({ length: 1e5 }, (_, n) => n + 0.5));",
    limits: { memoryMib: 128, wallMs: 30_000 },
    fault: /used more than 128 MiB/,
  },
  {
    about: "a memory hog beside the heap in JavaScript",
    language: "javascript",
    source: "const hoard = []; for (;;) hoard.push(Buffer.alloc(1e7, 1));",
    limits: { memoryMib: 128, wallMs: 30_000 },
    fault: /used more than 128 MiB|allocation failed|Failed to allocate/,
  },
  {
    about: "an endless loop in JavaScript",
    language: "javascript",
    source: "for (;;);",
    limits: { wallMs: 500 },
    fault: /ran longer than 500 ms/,
  },
  {
    about: "endless output in JavaScript",
    language: "javascript",
    source: "for (;;) console.log('x'.repeat(1000));",
    limits: { wallMs: 30_000 },
    fault: /wrote more than 65536 bytes/,
  },
  {
    about: "reading a file of the host in JavaScript",
    language: "javascript",
    source: "require('fs').readFileSync('HOST_FILE')",
    fault: /ENOENT/,
  },
  {
    about: "opening a socket in JavaScript",
    language: "javascript",
    source: "require('net').connect(HOST_PORT, '127.0.0.1')",
    fault: /ECONNREFUSED/,
  },
  {
    about: "killing its parent in JavaScript",
    language: "javascript",
    source: "process.kill(process.ppid, 'SIGKILL'); console.log('alive')",
    fault: null,
    stdout: "alive\n",
  },
  {
    about: "writing 10 GB in JavaScript",
    language: "javascript",
    source:
      "const fs = require('fs'); for (let n = 0; n < 1e4; n++) fs.appendFileSync('/tmp/much', Buffer.alloc(1e6));",
    fault: /EFBIG|ENOSPC/,
  },
];

describe.skipIf(NO_SANDBOX !== null)(`the sandbox ${NO_SANDBOX ?? ""}`.trim(), () => {
  const tools = NO_SANDBOX === null ? findTools(process.env) : { bwrap: "", node: "" };
  const pool = new SandboxPool({ clock: systemClock, tools, spares: 1 });
  const server = createServer();
  let folder = "";
  let port = 0;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "sandbox-"));
    await writeFile(join(folder, "secret"), "seen");
    await chmod(folder, 0o755);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    port = typeof address === "object" && address !== null ? address.port : 0;
  });
  afterAll(async () => {
    await pool.close();
    server.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function run(
    source: string,
    language: Language = "python",
    limits: Partial<ProgramLimits> = {},
    signal = new AbortController().signal,
  ): Promise<ProgramOutcome & { readonly fault: string | null }> {
    const given = { ...DEFAULT_PROGRAM_LIMITS, wallMs: 20_000, ...limits };
    const outcome = await pool.run({ language, source, testsLine: null }, given, signal);
    return { ...outcome, fault: faultOf(outcome, { language, limits: given }) };
  }

  for (const { about, source, language = "python", limits, fault, stdout } of HOSTILE) {
    test(`contains ${about}, says why it ended, and harms no other program`, async () => {
      const told = source
        .replaceAll("HOST_FILE", join(folder, "secret"))
        .replaceAll("HOST_PORT", String(port));
      const found = await run(language === "python" ? NAMED + told : told, language, limits);
      expect(processesNamed(NAME)).toBe(0);
      if (fault === null) expect(found.fault).toBeNull();
      else expect(found.fault).toMatch(fault);
      if (stdout !== undefined) expect(found.stdout).toBe(stdout);
      expect(found.stdout.length + found.stderr.length).toBeLessThanOrEqual(2 * 65_536);
      expect(await run("print(6 * 7)")).toMatchObject({ fault: null, isComplete: true, stdout: "42\n" });
    });
  }

  test("runs many programs at once, each alone", async () => {
    const asked = Array.from({ length: 12 }, (_, n) =>
      run(`open("/tmp/mine", "x").write("${n}")\nprint(open("/tmp/mine").read())`),
    );
    expect((await Promise.all(asked)).map(({ stdout }) => stdout)).toEqual(asked.map((_, n) => `${n}\n`));
  });

  test("gives a program what it needs, and the order of sets every time", async () => {
    const source =
      "import os, multiprocessing, subprocess\nmultiprocessing.Lock()\nprint({'a', 'b', 'c', 'd'}, subprocess.check_output(['echo', 'hi']), os.getcwd())";
    const [one, two] = [await run(source), await run(source)];
    expect(one).toMatchObject({ fault: null, stderr: "" });
    expect(one.stdout).toContain("b'hi\\n' /tmp");
    expect(two.stdout).toBe(one.stdout);
  });

  test.skipIf(process.getuid?.() !== 0)("runs a Node that only root may read (needs root)", async () => {
    const hidden = join(folder, "hidden");
    await mkdir(hidden, { mode: 0o700 });
    await copyFile(process.execPath, join(hidden, "node"), constants.COPYFILE_FICLONE);
    // One byte more tells it from the Node of this process, whose copy may be in use.
    await appendFile(join(hidden, "node"), "\n");
    const copied = findTools(process.env, join(hidden, "node"));
    expect(copied.node).not.toBe(join(hidden, "node"));
    const other = new SandboxPool({ clock: systemClock, tools: copied, spares: 0 });
    const program = { language: "javascript", source: "console.log(6 * 7)", testsLine: null } as const;
    const limits = { ...DEFAULT_PROGRAM_LIMITS, wallMs: 20_000 };
    const found = await other.run(program, limits, new AbortController().signal);
    await other.close();
    await rm(dirname(copied.node), { recursive: true });
    expect(found).toMatchObject({ stdout: "42\n", end: { kind: "exited", status: 0 } });
  });

  test("leaves nothing of a program that is aborted, and rejects with the reason", async () => {
    const withdrawn = new AbortController();
    const asked = run(`${NAMED}import os\nos.fork()\nwhile True: pass`, "python", {}, withdrawn.signal);
    const rejected = expect(asked).rejects.toThrow("withdrawn");
    await vi.waitFor(() => expect(processesNamed(NAME)).toBe(2), SEEN);
    withdrawn.abort(new Error("withdrawn"));
    await rejected;
    expect(processesNamed(NAME)).toBe(0);
  });

  test("leaves nothing behind when its pool is closed, once or twice", async () => {
    const other = new SandboxPool({ clock: systemClock, tools, spares: 2 });
    const program = { language: "python", source: `${NAMED}while True: pass`, testsLine: null } as const;
    const asked = other.run(
      program,
      { ...DEFAULT_PROGRAM_LIMITS, wallMs: 60_000 },
      new AbortController().signal,
    );
    const rejected = expect(asked).rejects.toMatchObject({ code: "unavailable" });
    await vi.waitFor(() => expect(processesNamed(NAME)).toBe(1), SEEN);
    await Promise.all([other.close(), other.close()]);
    await rejected;
    expect(processesNamed(NAME)).toBe(0);
    const late = other.run(program, DEFAULT_PROGRAM_LIMITS, new AbortController().signal);
    await expect(late).rejects.toMatchObject({ code: "unavailable" });
  });
});

describe.skipIf(NO_SANDBOX !== null)(
  `the sandbox of a worker that is killed ${NO_SANDBOX ?? ""}`.trim(),
  () => {
    let worker: ChildProcess | null = null;
    afterEach(() => worker?.kill("SIGKILL"));

    test("is gone with it", async () => {
      const name = `orphan-${process.pid % 100_000}`;
      const url = (path: string): string => new URL(`../../${path}`, import.meta.url).href;
      const source = `
      import { SandboxPool } from ${JSON.stringify(url("workers/verify/sandbox/sandbox-pool.ts"))};
      import { findTools } from ${JSON.stringify(url("workers/verify/sandbox/tools.ts"))};
      import { DEFAULT_PROGRAM_LIMITS } from ${JSON.stringify(url("workers/verify/sandbox/program.ts"))};
      import { systemClock } from ${JSON.stringify(url("services/runtime/clock.ts"))};
      const pool = new SandboxPool({ clock: systemClock, tools: findTools(process.env), spares: 1 });
      const program = { language: "python", testsLine: null, source: 'open("/proc/self/comm", "w").write("${name}")\\nwhile True: pass' };
      await pool.run(program, { ...DEFAULT_PROGRAM_LIMITS, wallMs: 600_000 }, new AbortController().signal);`;
      worker = spawn(process.execPath, ["--input-type=module", "--no-warnings", "-e", source], {
        stdio: "inherit",
      });
      await vi.waitFor(() => expect(processesNamed(name)).toBe(1), SEEN);
      worker.kill("SIGKILL");
      await vi.waitFor(() => expect(processesNamed(name)).toBe(0), SEEN);
    });
  },
);

describe.skipIf(NO_SANDBOX !== null)(`the probe of the sandbox ${NO_SANDBOX ?? ""}`.trim(), () => {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "bwrap-"));
    await chmod(folder, 0o755);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** What the probe says of a bubblewrap that changes its arguments by a line of bash first. */
  async function probed(change: string): Promise<string> {
    const { bwrap } = findTools(process.env);
    const path = join(folder, "bwrap");
    await writeFile(path, `#!/bin/bash\narguments=("$@")\n${change}\nexec ${bwrap} "\${arguments[@]}"\n`);
    await chmod(path, 0o755);
    const failure = await probeSandbox({ clock: systemClock, env: { PATH: folder } }).catch(
      (error: unknown) => error,
    );
    expect(failure).toMatchObject({ code: "failed_precondition" });
    return failure instanceof Error ? failure.message : "";
  }

  test("names a network that is open", async () => {
    const found = await probed(
      'arguments=(--unshare-user --unshare-pid --unshare-ipc --unshare-uts "${arguments[@]:1}")',
    );
    expect(found).toContain("reach this machine over TCP");
    expect(found).toContain("reach a socket of this machine by name");
  });

  test("names files of the host that can be seen", async () => {
    const found = await probed('arguments=(--ro-bind /etc /etc "${arguments[@]}")');
    expect(found).toContain("see /etc/passwd");
  });

  test("names places that can be written to", async () => {
    const found = await probed(
      'for i in "${!arguments[@]}"; do [ "${arguments[i]}" = --remount-ro ] && arguments[i]=--dir; done',
    );
    expect(found).toContain("write to /;");
  });

  test("names a filter of system calls that is absent", async () => {
    const found = await probed(
      'for i in "${!arguments[@]}"; do [ "${arguments[i]}" = --seccomp ] && arguments[i]=--sync-fd; done',
    );
    expect(found).toContain("call what the filter of system calls forbids");
    expect(found).toContain("hold memory that nobody counts");
  });

  test("names a limit that is not kept", async () => {
    const found = await probed(
      'for i in "${!arguments[@]}"; do case "${arguments[i]}" in --nproc=*|--as=*) arguments[i]=--core=1 ;; esac; done',
    );
    expect(found).toContain("hold more memory than its limit");
    expect(found).toContain("start more processes than its limit");
  });

  test("says what bubblewrap says where it does not start", async () => {
    expect(await probed('echo "bwrap: No permissions to create new namespace" >&2; exit 1')).toContain(
      "does not start: bwrap: No permissions to create new namespace",
    );
  });

  test("says that bubblewrap is not installed", async () => {
    const failure = probeSandbox({ clock: systemClock, env: { PATH: "/nowhere" } });
    await expect(failure).rejects.toMatchObject({
      code: "failed_precondition",
      message: expect.stringContaining("bubblewrap is not installed"),
    });
  });
});
