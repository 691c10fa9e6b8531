"""The interpreter that `drivers.warm_interpreter` starts: it imports a module, and forks for each program.

It forks twice: the first fork stays, to tell how the second one ends, which runs the program.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any


def main(module: str, address: str) -> dict[str, Any]:
    """Serves until standard input ends. Returns only in a process that is to run a program: the request."""
    importlib.import_module(module)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests and the programs
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the first forks
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if listener not in ready:
                sys.exit()
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
    return _fork_again(connection)


def _fork_again(connection: socket.socket) -> dict[str, Any]:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection, connection.makefile("rb") as lines:
        request = json.loads(lines.readline())
        if pid := os.fork():
            connection.sendall(b"%d\n" % pid)
            _, status = os.waitpid(pid, 0)
            connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
            os._exit(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return dict(request)


def become(environment: dict[str, str], log: str, arguments: list[str]) -> None:
    """Gives this process the environment, the output and the arguments of a program."""
    os.environ.clear()
    os.environ.update(environment)
    for number, (path, flags) in enumerate([(os.devnull, os.O_RDONLY), (log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)]):
        opened = os.open(path, flags, 0o644)
        for target in ([0], [1, 2])[number]:
            os.dup2(opened, target)
        os.close(opened)
    sys.argv = ["-c", *arguments]


if __name__ == "__main__":
    wanted = main(*sys.argv[1:])
    become(wanted["environment"], wanted["log"], wanted["arguments"])
    exec(compile(wanted["source"], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102  # as `python -c` does
