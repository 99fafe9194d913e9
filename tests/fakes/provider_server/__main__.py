"""Runs the fake by itself: `python -m tests.fakes.provider_server --port 4567`."""

import argparse
import signal
import sys
import threading

from tests.fakes.provider_server.server import ProviderServer


def main() -> None:
    """Serve until a signal to stop."""
    parser = argparse.ArgumentParser(description="Scripted model providers on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    # Under load nobody looks at the calls, which would only pile up.
    with ProviderServer(port=options.port, record=False) as server:
        sys.stdout.write(f"listening on {server.url}\n")
        sys.stdout.flush()
        stop.wait()


if __name__ == "__main__":
    main()
