"""A server with Ollama's list of models and its OpenAI-compatible chat."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "llama3.2"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer({"models": [{"name": f"{MODEL}:latest", "capabilities": ["completion"]}]})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = request["messages"][-1]["content"]
        message = {"role": "assistant", "content": f"{request['model']} heard: {said}"}
        usage = {"prompt_tokens": 9, "completion_tokens": 5}
        self._answer({"choices": [{"message": message}], "usage": usage})

    def _answer(self, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing is written."""


@contextmanager
def ollama() -> Iterator[str]:
    """Serves on loopback in a thread; the value is its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
