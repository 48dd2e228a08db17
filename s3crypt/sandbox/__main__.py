# SPDX-License-Identifier: Apache-2.0
"""The server's process: reads its token, writes its port, and serves requests.

`s3crypt.sandbox` starts this module in a new process. The two share only the format of the lines
that they exchange. This module must not know how requests are answered.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from . import HOST

if TYPE_CHECKING:
    from collections.abc import Callable


def main(arguments: list[str] | None = None) -> None:
    """Serve until a request stops the server or standard input is closed.

    Read the token from the first line of standard input.
    """
    parser = argparse.ArgumentParser(prog="python -m s3crypt.sandbox")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--detached", action="store_true", help="live on when stdin ends")
    chosen = parser.parse_args(arguments)
    token = sys.stdin.readline().strip()
    try:
        # Imported here, so that a missing dependency of moto is reported to the parent on the pipe.
        from .server import Server  # noqa: PLC0415

        server = Server((HOST, chosen.port), token)
    except (OSError, ImportError) as error:
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
        sys.exit(1)
    sys.stdout.write(json.dumps({"port": server.server_port, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    # The parent stops reading the pipe now. Send later output to /dev/null, so that writing cannot
    # fail.
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    if not chosen.detached:
        threading.Thread(target=_at_end_of_stdin, args=(server.shutdown,), daemon=True).start()
    server.serve_forever(poll_interval=0.1)


def _at_end_of_stdin(act: Callable[[], None]) -> None:
    while sys.stdin.readline():
        pass
    act()


if __name__ == "__main__":
    main()
