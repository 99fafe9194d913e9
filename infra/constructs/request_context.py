"""The local cloud's stand-in behind a streamed method.

MiniStack authorizes a call to a method with `ResponseTransferMode: STREAM` but cannot stream its
answer. There the method is deployed with everything but the transfer mode and answers whoever may
call it with the request's context; the front door runs the streamed application with that.
"""

from dataclasses import replace

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.python_function import FunctionDefaults, PythonFunction

MEDIA_TYPE = "application/vnd.santaclaude.request-context+json"

_CODE = f"""
import json

FORBIDDEN = {{"x-amzn-request-context", "x-amzn-lambda-context"}}


def handler(event, context):
    request = event["requestContext"]
    if FORBIDDEN & {{name.lower() for name in event.get("headers") or {{}}}}:
        problem = {{"type": "about:blank", "title": "Bad Request", "status": 400,
                   "detail": "a client may not send the request's context",
                   "code": "forbidden_header", "request_id": request["requestId"]}}
        return {{"statusCode": 400, "headers": {{"Content-Type": "application/problem+json"}},
                "body": json.dumps(problem)}}
    return {{"statusCode": 200, "headers": {{"Content-Type": "{MEDIA_TYPE}"}},
            "body": json.dumps(request)}}
"""


class RequestContextFunction(PythonFunction):
    """Answers the API Gateway request context of the call."""

    def __init__(
        self, scope: Construct, construct_id: str, *, name: str, defaults: FunctionDefaults
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            name=name,
            handler="index.handler",
            defaults=replace(defaults, code=lambda_.Code.from_inline(_CODE), layers=()),
            environment={},
            memory_mb=128,
            timeout=Duration.seconds(5),
            permissions=(),
        )
