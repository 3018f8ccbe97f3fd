# Tries to get out of the sandbox that it runs in, in every way that the sandbox is meant to close, and prints what it could
# do as a JSON list. FACTS is put before it.
import ctypes, json, mmap, os, socket

found = []


def attempt(claim, action):
    """What must fail."""
    try:
        action()
    except (OSError, MemoryError, ValueError):
        return
    found.append(claim)


def expect(claim, is_so):
    if not is_so:
        found.append(claim)


def connect(family, kind, address):
    with socket.socket(family, kind) as line:
        line.settimeout(1)
        line.connect(address)


def write(path):
    with open(path, "w") as file:
        file.write("x")
    os.unlink(path)


def fork_many():
    for _ in range(FACTS["processesMax"]):
        if os.fork() == 0:
            os.read(hold, 1)
            os._exit(0)


def write_much(folder, mib):
    path = folder + "/much"
    try:
        with open(path, "wb") as file:
            for _ in range(mib + 1):
                file.write(bytes(1 << 20))
    finally:
        os.unlink(path)


def check(claim, name, *arguments):
    """A call of the C library that must fail."""
    expect(claim, getattr(ctypes.CDLL(None), name)(*arguments) != 0)


attempt("reach this machine over TCP", lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", FACTS["port"])))
attempt("reach a socket of this machine by name", lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + FACTS["name"]))
attempt("reach another machine", lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.1", 9)))
attempt("open a socket to a hypervisor", lambda: socket.socket(40, socket.SOCK_STREAM).close())
for path in FACTS["hidden"]:
    expect("see " + path, not os.path.exists(path))
for folder in ["/", "/usr", "/usr/bin", "/usr/local", "/lib", "/opt", "/dev", "/proc", os.path.dirname(FACTS["hidden"][0])]:
    attempt("write to " + folder, lambda: write(folder + "/coppice-probe"))
expect("see processes of this machine", sum(name.isdigit() for name in os.listdir("/proc")) <= 3)
expect("see the environment of this machine", set(os.environ) <= set(FACTS["environment"]) | {"PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE"})
open_files = os.listdir("/proc/self/fd")
expect("use files that this process has open", len(open_files) <= 5)
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
expect("be somebody", os.getuid() == os.geteuid() == os.getgid() == FACTS["uid"])
expect("have capabilities", all(int(status[name], 16) == 0 for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]))
expect("gain privileges", status["NoNewPrivs"] == "1")
expect("call what the filter of system calls forbids", status["Seccomp"] == "2")
attempt("hold memory that nobody counts", lambda: os.close(os.memfd_create("x")))
attempt("hold more memory than its limit", lambda: mmap.mmap(-1, FACTS["memoryMib"] << 20).close())
attempt("write more files than its limit", lambda: write_much("/tmp", FACTS["tmpMib"]))
attempt("write more shared memory than its limit", lambda: write_much("/dev/shm", FACTS["tmpMib"]))
hold, let_go = os.pipe()
attempt("start more processes than its limit", fork_many)
check("make a user namespace", "unshare", 0x10000000)
print(json.dumps(found), flush=True)
os._exit(0)
