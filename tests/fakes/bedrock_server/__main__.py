"""Runs the fake by itself: `python -m tests.fakes.bedrock_server --port 4567`."""

import argparse
import signal
import sys
import threading

from tests.fakes.bedrock_server.server import BedrockServer


def main() -> None:
    """Serve until a signal to stop."""
    parser = argparse.ArgumentParser(description="A scripted Bedrock runtime on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--upstream", help="where calls without a directive go, a URL")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with BedrockServer(port=options.port, upstream=options.upstream) as server:
        sys.stdout.write(f"listening on {server.url}\n")
        sys.stdout.flush()
        stop.wait()


if __name__ == "__main__":
    main()
