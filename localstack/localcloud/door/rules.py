"""What the front door refuses, whatever the service would say."""

from urllib.parse import parse_qs

from localcloud.door.http import Request
from localcloud.door.problems import Problem

# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
BODY_BYTES = 10 * 1024 * 1024
_HTTP_PORT = 80
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# Lambda's web adapter makes these from the authorized call; from a client they would be believed.
_RESERVED = ("x-amzn-request-context", "x-amzn-lambda-context")
_SIGNATURE = "AWS4-"


def check(request: Request, port: int) -> None:
    """Raise Problem for a request that must not reach the service's API."""
    check_origin(request, port)
    if not request.path.startswith("/"):
        raise Problem(400, "malformed_target", "The request target must be a path.")
    for name in _RESERVED:
        if request.all(name):
            raise Problem(400, "forbidden_header", f"The header {name} is not a client's to send.")
    declared = request.first("content-length")
    if declared.isdigit() and int(declared) > BODY_BYTES:
        raise too_large()


def check_origin(request: Request, port: int) -> None:
    """Raise Problem for a request that a foreign page may have caused.

    A page elsewhere can send requests to this machine: by another name for it (Host), or from its
    own origin (Origin).
    """
    names = ("localhost", "127.0.0.1", "[::1]")
    own = {f"{name}:{port}" for name in names} | (set(names) if port == _HTTP_PORT else set())
    hosts = request.all("host")
    if len(hosts) != 1 or hosts[0].lower() not in own:
        raise Problem(403, "foreign_host", f"The Host header must be localhost:{port}.")
    origins = {f"http://{name}" for name in own}
    if any(origin.lower() not in origins for origin in request.all("origin")):
        raise Problem(403, "foreign_origin", "Pages of other origins may not call this service.")
    # Browsers name no origin where a page has this service for a picture, a frame or a link.
    if any(site not in {"none", "same-origin"} for site in request.all("sec-fetch-site")):
        raise Problem(403, "foreign_origin", "Pages of other origins may not call this service.")


def check_media_type(request: Request) -> None:
    """Raise Problem for a body that does not say JSON, such as a form of a foreign page."""
    if request.method not in _WITH_BODY:
        return
    types = request.all("content-type")
    if not types and not request.body:
        return
    if len(types) != 1 or types[0].split(";", 1)[0].strip().lower() != "application/json":
        raise Problem(415, "unsupported_media_type", "Send the body as application/json.")


def is_signed(request: Request) -> bool:
    """Whether the client signed the request itself, by header or in the query."""
    return request.first("authorization").startswith(_SIGNATURE) or "X-Amz-Signature" in parse_qs(
        request.query
    )


def too_large() -> Problem:
    """The problem for a body over API Gateway's limit."""
    return Problem(413, "request_too_large", f"A body has at most {BODY_BYTES} bytes.")
