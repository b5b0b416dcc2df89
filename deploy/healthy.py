"""Whether the run in this container is well: ``python healthy.py PORT``, exit 0 or 1; for an image without curl.

It asks at this machine's own address, which the server answers whether it listens on all addresses or on the
container's name alone.
"""

from __future__ import annotations

import http.client
import socket
import sys

SECONDS = 5.0


def main(port: str) -> int:
    """Ask; what ``/healthz`` says goes to standard output, where ``docker inspect`` finds it."""
    try:
        link = http.client.HTTPConnection(socket.gethostbyname(socket.gethostname()), int(port), timeout=SECONDS)
        link.request("GET", "/healthz")
        answer = link.getresponse()
        sys.stdout.write(answer.read().decode())
    except OSError as error:
        sys.stdout.write(f"no answer: {error}\n")
        return 1
    return int(answer.status != http.client.OK)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
