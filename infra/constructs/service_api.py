"""The REST API of one service: signed by IAM, closed to all but the named roles."""

import json
from collections.abc import Sequence

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


class ServiceApi(Construct):
    """A REGIONAL REST API over `routes`.

    An edge-optimised API would cut a silent stream after 30 s. Every signed route is denied to
    whoever is not one of `caller_roles` (role names of this account): within one account an Allow
    on either side suffices, so only a Deny keeps other roles with `execute-api:*` out.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        routes: Sequence[Route],
        buffered: lambda_.IFunction,
        streamed: lambda_.IFunction,
        stream_responses: bool,
        caller_roles: Sequence[str],
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
            policy=_resource_policy(routes, caller_roles),
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

        buffered_integration = apigateway.LambdaIntegration(
            buffered, scope_permission_to_method=False, timeout=_BUFFERED_TIMEOUT
        )
        streamed_integration = (
            apigateway.LambdaIntegration(
                streamed,
                scope_permission_to_method=False,
                timeout=_STREAM_TIMEOUT,
                response_transfer_mode=apigateway.ResponseTransferMode.STREAM,
            )
            if stream_responses
            else apigateway.LambdaIntegration(
                streamed, scope_permission_to_method=False, timeout=_BUFFERED_TIMEOUT
            )
        )
        validator = self.api.add_request_validator(
            "Validator", validate_request_body=True, validate_request_parameters=True
        )
        json_object = self.api.add_model(
            "JsonObject",
            content_type="application/json",
            schema=apigateway.JsonSchema(type=apigateway.JsonSchemaType.OBJECT),
        )
        for route in routes:
            self._add(
                route,
                integration=streamed_integration if route.streamed else buffered_integration,
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


def _resource_policy(routes: Sequence[Route], caller_roles: Sequence[str]) -> iam.PolicyDocument:
    """Open routes for everyone; the rest denied to all but the named roles."""
    anyone = iam.AnyPrincipal()
    opened = [route for route in routes if not route.signed]
    closed = sorted({route.first_segment for route in routes if route.signed})
    shared = {route.first_segment for route in opened} & set(closed)
    if shared:
        raise ValueError(f"open and signed routes below one path: {', '.join(sorted(shared))}")
    # AWS puts a session's role into aws:PrincipalArn; MiniStack puts the session itself.
    callers = [
        arn
        for role in caller_roles
        for arn in (
            f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:role/{role}",
            f"arn:{Aws.PARTITION}:sts::{Aws.ACCOUNT_ID}:assumed-role/{role}/*",
        )
    ]
    return iam.PolicyDocument(
        statements=[
            iam.PolicyStatement(
                sid="Open",
                principals=[anyone],
                actions=["execute-api:Invoke"],
                resources=[f"execute-api:/{STAGE}/{route.method}{route.path}" for route in opened],
            ),
            iam.PolicyStatement(
                sid="NamedRolesOnly",
                effect=iam.Effect.DENY,
                principals=[anyone],
                actions=["execute-api:Invoke"],
                resources=[
                    f"execute-api:/*/*/{segment}{suffix}"
                    for segment in closed
                    for suffix in ("", "/*")
                ],
                # Negated operators also match a request that has no principal.
                conditions={"StringNotLike": {"aws:PrincipalArn": callers}},
            ),
        ]
    )
