"""The front door's own answers: RFC 9457 problems."""

import json
from http import HTTPStatus


class Problem(Exception):  # noqa: N818 - an answer, raised where it is found
    """A request that the front door answers itself."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail

    def body(self, request_id: str) -> bytes:
        """The JSON document."""
        return json.dumps(
            {
                "type": "about:blank",
                "title": HTTPStatus(self.status).phrase,
                "status": self.status,
                "detail": self.detail,
                "code": self.code,
                "request_id": request_id,
            }
        ).encode()


def unreachable() -> Problem:
    """The problem for an emulated AWS that gives no answer."""
    return Problem(502, "cloud_unreachable", "The local cloud does not answer: run `make up`.")
