"""Runs `foretest` and `pytest` in forks of one process that has loaded them: a tenth of the cost.

python ci_server.py SOCKET     serves until its standard input is closed
client(SOCKET)                 the text of a script that hands its command over and waits
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
from pathlib import Path

CLIENT = """\
import json, os, socket, sys
asked = json.dumps([os.getcwd(), dict(os.environ), sys.argv[1:]]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({place!r})
    socket.send_fds(server, [len(asked).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(asked)
    answer = server.recv(1)
sys.exit(answer[0] if answer else 99)
"""


def client(place: Path) -> str:
    return CLIENT.format(place=str(place))


def serve(place: str) -> None:
    _load()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place)
        listening.listen()
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listening.accept()
            if os.fork() == 0:  # who answers when the command has ended
                listening.close()
                _answer(connection)
            connection.close()
            _reap()


def _load() -> None:
    import deltalake  # noqa: F401
    import polars  # noqa: F401
    import pytest  # noqa: F401
    import sqlalchemy.dialects.sqlite  # noqa: F401

    import foretest.carrying
    import foretest.cli.main
    import foretest.plugin.session
    import foretest.remembering  # noqa: F401


def _answer(connection: socket.socket) -> None:
    head, files, _, _ = socket.recv_fds(connection, 4, 3)
    length, asked = int.from_bytes(head, "big"), b""
    while len(asked) < length:
        asked += connection.recv(length - len(asked))
    child = os.fork()
    if child == 0:
        os._exit(_run(files, *json.loads(asked)))
    _, status = os.waitpid(child, 0)
    connection.sendall(bytes([os.waitstatus_to_exitcode(status) & 255]))
    os._exit(0)


def _run(files: list[int], place: str, environment: dict[str, str], command: list[str]) -> int:
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = command
    status = 98
    try:
        if command[0] == "pytest":
            import pytest

            status = int(pytest.main(command[1:]))
        else:
            from foretest.cli.main import main

            status = main(command[1:])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return status


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    serve(sys.argv[1])
