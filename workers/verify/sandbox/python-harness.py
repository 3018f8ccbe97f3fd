# The inside of a Python sandbox. It starts, says so on descriptor 3, waits on standard input for its one program, and runs
# it as __main__ in /tmp/program.py. When the program has run to its last line, or its tests have exited with status 0, it
# writes the nonce of the request to descriptor 3: a program that leaves early, in whatever way, does not.
import builtins, collections, functools, heapq, itertools, json, math, os, random, re, string, sys
import traceback, types, typing  # Programs import these: here it costs them no time.

PATH = "/tmp/program.py"
REPORT = 3


def read(count):
    parts = []
    while count > 0:
        part = os.read(0, min(count, 65536))
        if not part:
            os._exit(0)  # Closed before it was needed.
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def read_line():
    line = b""
    while not line.endswith(b"\n"):
        line += read(1)
    return line


def is_exit_of_tests(error, tests_line):
    if tests_line is None or error.code not in (None, 0, False):
        return False
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == PATH]
    return len(lines) > 0 and min(lines) >= tests_line


def run(source, tests_line):
    """The exit status, and whether the program is complete."""
    module = types.ModuleType("__main__")
    module.__file__ = PATH
    module.__builtins__ = builtins
    sys.modules["__main__"] = module
    sys.argv = [PATH]
    sys.path[0] = "/tmp"
    try:
        with open(PATH, "wb") as file:
            file.write(source)
        exec(compile(source, PATH, "exec", dont_inherit=True), module.__dict__)
    except SystemExit as error:
        return error.code, is_exit_of_tests(error, tests_line)
    except BaseException as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != PATH:
            trace = trace.tb_next
        traceback.print_exception(type(error), error, trace)
        return 1, False
    return 0, True


def main():
    os.write(REPORT, b"ready\n")
    request = json.loads(read_line())
    status, is_complete = run(read(request["bytes"]), request["testsLine"])
    if is_complete:
        os.write(REPORT, request["nonce"].encode())
    sys.exit(status)


main()
