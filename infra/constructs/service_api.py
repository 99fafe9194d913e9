"""The REST API of one service: signed by IAM, closed to all but the named roles."""

import fnmatch
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import Aws, Duration, RemovalPolicy
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.routes import Route
from infra.security import Reason, acknowledge

STAGE = "live"

# https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode.html
_STREAM_TIMEOUT = Duration.minutes(15)
_BUFFERED_TIMEOUT = Duration.seconds(29)

# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
_MAX_POLICY_BYTES = 8192
_LONGEST_API_ARN = "arn:aws-us-gov:execute-api:ap-southeast-2:123456789012:abcdefghij"
_INVOKE = "execute-api:Invoke"
_PARAMETER = re.compile(r"\{[^}]+\}")

# No path parameters, query strings or bodies: they may be personal.
_ACCESS_LOG = apigateway.AccessLogFormat.custom(
    json.dumps(
        {
            "request_id": "$context.requestId",
            "time": "$context.requestTime",
            "method": "$context.httpMethod",
            "route": "$context.resourcePath",
            "status": "$context.status",
            "latency_ms": "$context.responseLatency",
            "integration_latency_ms": "$context.integrationLatency",
            "bytes": "$context.responseLength",
            "caller": "$context.identity.userArn",
            "error": "$context.error.responseType",
        }
    )
)

# What API Gateway answers by itself, in the form of every other error here (RFC 9457).
_GATEWAY_RESPONSES = {
    "ACCESS_DENIED": ("403", "access_denied", "Forbidden"),
    "API_CONFIGURATION_ERROR": ("500", "internal_error", "Internal Server Error"),
    "AUTHORIZER_CONFIGURATION_ERROR": ("500", "internal_error", "Internal Server Error"),
    "AUTHORIZER_FAILURE": ("500", "internal_error", "Internal Server Error"),
    "BAD_REQUEST_BODY": ("400", "malformed_body", "Bad Request"),
    "BAD_REQUEST_PARAMETERS": ("400", "missing_parameter", "Bad Request"),
    "EXPIRED_TOKEN": ("403", "expired_token", "Forbidden"),
    "INTEGRATION_FAILURE": ("504", "integration_failure", "Gateway Timeout"),
    "INTEGRATION_TIMEOUT": ("504", "integration_timeout", "Gateway Timeout"),
    "INVALID_SIGNATURE": ("403", "invalid_signature", "Forbidden"),
    "MISSING_AUTHENTICATION_TOKEN": ("403", "unsigned_or_unknown_route", "Forbidden"),
    "QUOTA_EXCEEDED": ("429", "quota_exceeded", "Too Many Requests"),
    "REQUEST_TOO_LARGE": ("413", "request_too_large", "Content Too Large"),
    "RESOURCE_NOT_FOUND": ("404", "not_found", "Not Found"),
    "THROTTLED": ("429", "throttled", "Too Many Requests"),
    "UNAUTHORIZED": ("401", "unauthorized", "Unauthorized"),
    "UNSUPPORTED_MEDIA_TYPE": ("415", "unsupported_media_type", "Unsupported Media Type"),
    "INVALID_API_KEY": ("403", "access_denied", "Forbidden"),
    "WAF_FILTERED": ("403", "access_denied", "Forbidden"),
    # What is left is a signature that names no key or lacks a part.
    "DEFAULT_4XX": ("403", "refused", "Forbidden"),
    "DEFAULT_5XX": ("500", "internal_error", "Internal Server Error"),
}


def _problem(status: str, code: str, title: str) -> str:
    # messageString is a quoted JSON string, so it stands bare in the template.
    return (
        f'{{"type":"about:blank","title":"{title}","status":{status},'
        f'"detail":$context.error.messageString,"code":"{code}",'
        '"request_id":"$context.requestId"}'
    )


@dataclass(frozen=True, kw_only=True)
class RouteGroup:
    """Routes that one function answers, and the roles of this account that may call them.

    A role is named whole or, where a service has several, as `santaclaude-dev-messaging-*`.
    """

    routes: Sequence[Route]
    function: lambda_.IFunction
    callers: Sequence[str]


class ServiceApi(Construct):
    """A REGIONAL REST API over the routes of `groups`.

    An edge-optimised API would cut a silent stream after 30 s. Every signed route is denied to
    whoever is not one of its group's callers: within one account an Allow on either side suffices,
    so only a Deny keeps other roles with `execute-api:*` out.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        groups: Sequence[RouteGroup],
        stream_responses: bool,
        throttling_rate: int,
        throttling_burst: int,
        log_retention: logs.RetentionDays,
    ) -> None:
        super().__init__(scope, construct_id)
        access_log = logs.LogGroup(
            self,
            "AccessLog",
            log_group_name=f"/santaclaude/access/{name}",
            retention=log_retention,
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.api = apigateway.RestApi(
            self,
            "Api",
            rest_api_name=name,
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            cloud_watch_role=False,
            policy=resource_policy(groups),
            deploy_options=apigateway.StageOptions(
                stage_name=STAGE,
                access_log_destination=apigateway.LogGroupLogDestination(access_log),
                access_log_format=_ACCESS_LOG,
                logging_level=apigateway.MethodLoggingLevel.ERROR,
                data_trace_enabled=False,
                metrics_enabled=True,
                tracing_enabled=True,
                throttling_rate_limit=throttling_rate,
                throttling_burst_limit=throttling_burst,
            ),
        )
        for response, (status, code, title) in _GATEWAY_RESPONSES.items():
            self.api.add_gateway_response(
                response.title().replace("_", ""),
                type=apigateway.ResponseType.of(response),
                status_code=status,
                response_headers={"Content-Type": "'application/problem+json'"},
                templates={"application/json": _problem(status, code, title)},
            )
        acknowledge(self.api, Reason.NO_WAF)
        acknowledge(self.api.deployment_stage, Reason.NO_WAF)

        validator = self.api.add_request_validator(
            "Validator", validate_request_body=True, validate_request_parameters=True
        )
        json_object = self.api.add_model(
            "JsonObject",
            content_type="application/json",
            schema=apigateway.JsonSchema(type=apigateway.JsonSchemaType.OBJECT),
        )
        for group in groups:
            integrations = {
                streamed: _integration(group.function, streamed=streamed and stream_responses)
                for streamed in {route.streamed for route in group.routes}
            }
            for route in group.routes:
                self._add(
                    route,
                    integration=integrations[route.streamed],
                    validator=validator,
                    body=json_object,
                )

    def _add(
        self,
        route: Route,
        *,
        integration: apigateway.Integration,
        validator: apigateway.IRequestValidator,
        body: apigateway.IModel,
    ) -> None:
        method = self.api.root.resource_for_path(route.path).add_method(
            route.method,
            integration,
            authorization_type=(
                apigateway.AuthorizationType.IAM
                if route.signed
                else apigateway.AuthorizationType.NONE
            ),
            request_validator=validator,
            request_models={"application/json": body} if route.has_body else None,
            request_parameters={
                f"method.request.querystring.{name}": True for name in route.required_query
            },
        )
        acknowledge(method, Reason.SIGNED_BY_IAM)
        if not route.signed:
            acknowledge(method, Reason.OPEN_ROUTE)


def _integration(function: lambda_.IFunction, *, streamed: bool) -> apigateway.Integration:
    if streamed:
        return apigateway.LambdaIntegration(
            function,
            scope_permission_to_method=False,
            timeout=_STREAM_TIMEOUT,
            response_transfer_mode=apigateway.ResponseTransferMode.STREAM,
        )
    return apigateway.LambdaIntegration(
        function, scope_permission_to_method=False, timeout=_BUFFERED_TIMEOUT
    )


def resource_policy(groups: Sequence[RouteGroup]) -> iam.PolicyDocument:
    """Open routes for everyone; the rest denied to all but the callers of each group.

    The first Deny covers whatever lies below a signed path, routes that do not exist included, for
    who calls no group at all; those after it cover the routes of one group each. Raises ValueError
    for routes that cannot be told apart, and for a policy longer than API Gateway takes.
    """
    routes = [route for group in groups for route in group.routes]
    opened = [route for route in routes if not route.signed]
    closed = sorted({route.first_segment for route in routes if route.signed})
    shared = {route.first_segment for route in opened} & set(closed)
    if shared:
        raise ValueError(f"open and signed routes below one path: {', '.join(sorted(shared))}")
    callers = sorted({caller for group in groups for caller in group.callers})
    statements = [
        iam.PolicyStatement(
            sid="Open",
            principals=[iam.AnyPrincipal()],
            actions=[_INVOKE],
            resources=[f"execute-api:/{STAGE}/{route.method}{route.path}" for route in opened],
        ),
        _denied_to_others(
            "NamedRolesOnly",
            callers,
            [f"/*/*/{segment}{suffix}" for segment in closed for suffix in ("", "/*")],
        ),
    ]
    for number, group in enumerate(groups, 1):
        patterns = [_pattern(route) for route in group.routes if route.signed]
        if patterns and set(group.callers) != set(callers):
            _require_apart(group, patterns, groups)
            statements.append(_denied_to_others(f"Group{number}", group.callers, patterns))
    document = iam.PolicyDocument(statements=statements)
    _require_short(document)
    return document


def _denied_to_others(
    sid: str, callers: Sequence[str], patterns: Sequence[str]
) -> iam.PolicyStatement:
    # AWS puts a session's role into aws:PrincipalArn; MiniStack puts the session itself.
    principals = [
        arn
        for role in callers
        for arn in (
            f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:role/{role}",
            f"arn:{Aws.PARTITION}:sts::{Aws.ACCOUNT_ID}:assumed-role/{role}/*",
        )
    ]
    return iam.PolicyStatement(
        sid=sid,
        effect=iam.Effect.DENY,
        principals=[iam.AnyPrincipal()],
        actions=[_INVOKE],
        resources=[f"execute-api:{pattern}" for pattern in patterns],
        # Negated operators also match a request that has no principal. Without callers it is denied
        # to everyone.
        conditions={"StringNotLike": {"aws:PrincipalArn": principals}} if principals else None,
    )


def _pattern(route: Route) -> str:
    return f"/*/{route.method}{_PARAMETER.sub('*', route.path)}"


def _require_apart(
    group: RouteGroup, patterns: Sequence[str], groups: Sequence[RouteGroup]
) -> None:
    """A star also stands for slashes: what denies one group's routes must not deny another's."""
    for other in groups:
        for route in other.routes:
            path = f"/{STAGE}/{route.method}{route.path}"
            taken = next((one for one in patterns if fnmatch.fnmatchcase(path, one)), None)
            if set(other.callers) != set(group.callers) and taken:
                raise ValueError(f"{route.method} {route.path} also matches {taken}")


def _require_short(document: iam.PolicyDocument) -> None:
    # Accounts and partitions stand as tokens, which are longer than they are. API Gateway completes
    # what names a resource to its ARN.
    text = json.dumps(document.to_json(), separators=(",", ":"))
    length = len(text.replace('"execute-api:/', f'"{_LONGEST_API_ARN}/'))
    if length > _MAX_POLICY_BYTES:
        raise ValueError(f"the API's policy has {length} bytes, {_MAX_POLICY_BYTES} are allowed")
