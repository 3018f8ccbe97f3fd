/**
 * A seccomp filter for the sandbox: system calls that its namespaces do not cover, or that make more of the kernel reachable
 * than a program needs. A filter is a classic BPF program over `struct seccomp_data`; see seccomp(2).
 */
import { CoppiceError } from "../../../services/runtime/errors.ts";

interface Architecture {
  /** AUDIT_ARCH_*. */
  readonly audit: number;
  /** Numbers at or above this one are another ABI's (x32). */
  readonly end: number;
  readonly calls: Readonly<Record<Denied | "clone" | "clone3" | "socket" | "socketpair", number>>;
}

/** Memory that no limit counts, other processes' memory, new namespaces, and parts of the kernel with a history. */
const DENIED = [
  "shmget",
  "memfd_create",
  "memfd_secret",
  "ptrace",
  "process_vm_readv",
  "process_vm_writev",
  "pidfd_getfd",
  "unshare",
  "setns",
  "mount",
  "open_tree",
  "fsopen",
  "open_by_handle_at",
  "add_key",
  "request_key",
  "keyctl",
  "bpf",
  "perf_event_open",
  "userfaultfd",
  "fanotify_init",
  "io_uring_setup",
  "io_uring_enter",
  "io_uring_register",
] as const;
type Denied = (typeof DENIED)[number];

/** The same number on every architecture. */
const RECENT = {
  pidfd_getfd: 438,
  clone3: 435,
  open_tree: 428,
  fsopen: 430,
  io_uring_setup: 425,
  io_uring_enter: 426,
  io_uring_register: 427,
  memfd_secret: 447,
};

const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  x64: {
    audit: 0xc000003e,
    end: 0x40000000,
    calls: {
      ...RECENT,
      shmget: 29,
      socket: 41,
      socketpair: 53,
      clone: 56,
      ptrace: 101,
      mount: 165,
      add_key: 248,
      request_key: 249,
      keyctl: 250,
      unshare: 272,
      perf_event_open: 298,
      fanotify_init: 300,
      open_by_handle_at: 304,
      setns: 308,
      process_vm_readv: 310,
      process_vm_writev: 311,
      memfd_create: 319,
      bpf: 321,
      userfaultfd: 323,
    },
  },
  arm64: {
    audit: 0xc00000b7,
    end: 0x40000000,
    calls: {
      ...RECENT,
      mount: 40,
      unshare: 97,
      ptrace: 117,
      shmget: 194,
      socket: 198,
      socketpair: 199,
      add_key: 217,
      request_key: 218,
      keyctl: 219,
      clone: 220,
      perf_event_open: 241,
      fanotify_init: 262,
      open_by_handle_at: 265,
      setns: 268,
      process_vm_readv: 270,
      process_vm_writev: 271,
      memfd_create: 279,
      bpf: 280,
      userfaultfd: 282,
    },
  },
};

/** Families of sockets that the network namespace covers; others (AF_VSOCK, AF_ALG...) reach past it. */
const FAMILIES = { AF_UNIX: 1, AF_INET: 2, AF_INET6: 10 };
/** CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const NEW_NAMESPACES = 0x7e020080;

const EPERM = 1;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;
const ALLOW = 0x7fff0000;
const KILL = 0x80000000;
const fails = (errno: number): number => 0x00050000 | errno;

/** Offsets in `struct seccomp_data`, on a machine whose low bytes come first. */
const AT = { number: 0, architecture: 4, argument0: 16 };
const LOAD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_AT_LEAST = 0x35;
const JUMP_ANY_BIT = 0x45;
const RETURN = 0x06;

type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, value: number];

const load = (offset: number): Instruction => [LOAD, 0, 0, offset];
const give = (value: number): Instruction => [RETURN, 0, 0, value];
/** Gives `value` at once where the comparison holds, goes on where it does not. */
const giveIf = (jump: number, operand: number, value: number): readonly Instruction[] => [
  [jump, 0, 1, operand],
  give(value),
];

/**
 * The filter as `bwrap --seccomp` reads it.
 * @param architecture As in `process.arch`.
 * @throws failed_precondition for one that is not known: no sandbox without its filter (I9).
 */
export function seccompFilter(architecture: string): Buffer {
  const known = ARCHITECTURES[architecture];
  if (known === undefined) {
    throw new CoppiceError(
      "failed_precondition",
      `expected a machine of architecture ${Object.keys(ARCHITECTURES).join(" or ")}, found ${architecture}`,
    );
  }
  const { audit, end, calls } = known;
  const ofSockets = Object.values(FAMILIES).flatMap((family) => giveIf(JUMP_EQUAL, family, ALLOW));
  const socketBody = [load(AT.argument0), ...ofSockets, give(fails(EAFNOSUPPORT))];
  const cloneBody = [load(AT.argument0), ...giveIf(JUMP_ANY_BIT, NEW_NAMESPACES, fails(EPERM)), give(ALLOW)];
  /** Runs `body`, which ends in a return, for one call. */
  const only = (call: number, body: readonly Instruction[]): readonly Instruction[] => [
    [JUMP_EQUAL, 0, body.length, call],
    ...body,
  ];
  const program: readonly Instruction[] = [
    load(AT.architecture),
    [JUMP_EQUAL, 1, 0, audit],
    give(KILL),
    load(AT.number),
    ...giveIf(JUMP_AT_LEAST, end, fails(ENOSYS)),
    // The C library falls back to clone, whose flags can be looked at.
    ...giveIf(JUMP_EQUAL, calls.clone3, fails(ENOSYS)),
    ...DENIED.flatMap((name) => giveIf(JUMP_EQUAL, calls[name], fails(EPERM))),
    ...only(calls.socket, socketBody),
    ...only(calls.socketpair, socketBody),
    ...only(calls.clone, cloneBody),
    give(ALLOW),
  ];
  return encode(program);
}

/** `struct sock_filter`: 16 bits of code, two jumps of 8, 32 bits of operand. */
function encode(program: readonly Instruction[]): Buffer {
  const bytes = Buffer.alloc(program.length * 8);
  for (const [index, [code, ifTrue, ifFalse, value]] of program.entries()) {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(ifTrue, index * 8 + 2);
    bytes.writeUInt8(ifFalse, index * 8 + 3);
    bytes.writeUInt32LE(value >>> 0, index * 8 + 4);
  }
  return bytes;
}
