"""The front door's own answers: RFC 9457 problems."""

import json
from dataclasses import dataclass
from http import HTTPStatus


@dataclass(frozen=True)
class Problem(Exception):  # noqa: N818 - an answer, raised where it is found
    """A request that the front door answers itself."""

    status: int
    code: str
    detail: str

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
