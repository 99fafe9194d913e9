"""Live progress: the WebSocket API, the function behind it, and the one that pushes to many."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Aws, Duration, RemovalPolicy
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra.constructs.alarms import Alarm, Alarms
from infra.constructs.permissions import invoke, items
from infra.constructs.python_function import FunctionDefaults, PythonFunction
from infra.constructs.service_api import STAGE
from infra.constructs.service_table import ServiceTable
from infra.security import Reason, acknowledge
from infra.settings import DeploySettings

_ROUTES = ("$connect", "$disconnect", "$default")
_TIMEOUT = Duration.seconds(29)
# Frames are sent for a minute at most, and the pages of shards read before and between.
_PUSH_TIMEOUT = Duration.seconds(90)
# A message that comes later than that has been resumed by whoever cares.
_PUSH_MAX_AGE = Duration.minutes(2)

# Neither the query, which holds the ticket, nor what clients say.
_ACCESS_LOG = json.dumps(
    {
        "request_id": "$context.requestId",
        "time": "$context.requestTime",
        "event": "$context.eventType",
        "route": "$context.routeKey",
        "status": "$context.status",
        "integration_latency_ms": "$context.integrationLatency",
        "connection_id": "$context.connectionId",
        "error": "$context.error.responseType",
    }
)


@dataclass(frozen=True, slots=True)
class WebSocketAddress:
    """Where the API is: for clients, and for whoever sends to its connections."""

    client_url: str
    connections_url: str


class WebSocketApi(Construct):
    """A WebSocket API of the one stage that all APIs have, without routes yet.

    API Gateway closes a connection after two hours, and after ten minutes without a message.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, name: str, settings: DeploySettings
    ) -> None:
        super().__init__(scope, construct_id)
        self._name = name
        self._settings = settings
        self.api = apigatewayv2.CfnApi(
            self,
            "Api",
            name=name,
            protocol_type="WEBSOCKET",
            route_selection_expression="$request.body.action",
        )
        self.api_id = self.api.ref
        host = f"{self.api_id}.execute-api.{Aws.REGION}.{Aws.URL_SUFFIX}/{STAGE}"
        address = settings.endpoint
        self.address = WebSocketAddress(
            settings.websocket_url or f"wss://{host}",
            f"{address}/_aws/execute-api/{self.api_id}/{STAGE}" if address else f"https://{host}",
        )
        for key, value in {
            "websocket-api-id": self.api_id,
            "websocket-url": self.address.client_url,
        }.items():
            ssm.StringParameter(
                self,
                f"Parameter-{key}",
                parameter_name=settings.parameter("messaging", key),
                string_value=value,
            )

    def may_send(self) -> iam.PolicyStatement:
        """Sending to any connection."""
        return iam.PolicyStatement(
            sid="Connections",
            actions=["execute-api:ManageConnections"],
            resources=[f"{self._stage_arn()}/POST/@connections/*"],
        )

    def allow(self, function: PythonFunction) -> None:
        """Let the function send to connections."""
        function.role.add_to_policy(self.may_send())
        acknowledge(
            function.role,
            Reason.CONNECTIONS,
            api=self.api.stack.get_logical_id(self.api),
        )

    def serve(self, function: PythonFunction) -> None:
        """Have the function answer every route."""
        uri = (
            f"arn:{Aws.PARTITION}:apigateway:{Aws.REGION}:lambda:path/2015-03-31/functions/"
            f"{function.alias.function_arn}/invocations"
        )
        integration = apigatewayv2.CfnIntegration(
            self,
            "Integration",
            api_id=self.api_id,
            integration_type="AWS_PROXY",
            integration_uri=uri,
        )
        function.alias.add_permission(
            "WebSocketApi",
            principal=iam.ServicePrincipal("apigateway.amazonaws.com"),
            source_arn=f"{self._stage_arn()}/*",
        )
        routes = [self._route(key, integration) for key in _ROUTES]
        access_log = logs.LogGroup(
            self,
            "AccessLog",
            log_group_name=f"/santaclaude/access/{self._name}",
            retention=self._settings.log_retention,
            removal_policy=RemovalPolicy.DESTROY,
        )
        stage = apigatewayv2.CfnStage(
            self,
            "Stage",
            api_id=self.api_id,
            stage_name=STAGE,
            auto_deploy=True,
            access_log_settings=apigatewayv2.CfnStage.AccessLogSettingsProperty(
                destination_arn=access_log.log_group_arn, format=_ACCESS_LOG
            ),
            default_route_settings=apigatewayv2.CfnStage.RouteSettingsProperty(
                # Its execution log would tell of requests with their queries.
                logging_level="OFF",
                data_trace_enabled=False,
                detailed_metrics_enabled=True,
                throttling_rate_limit=self._settings.throttling_rate,
                throttling_burst_limit=self._settings.throttling_burst,
            ),
        )
        for route in routes:
            stage.add_resource_dependency(route)

    def _stage_arn(self) -> str:
        api = f"{Aws.REGION}:{Aws.ACCOUNT_ID}:{self.api_id}"
        return f"arn:{Aws.PARTITION}:execute-api:{api}/{STAGE}"

    def _route(self, key: str, integration: apigatewayv2.CfnIntegration) -> apigatewayv2.CfnRoute:
        route = apigatewayv2.CfnRoute(
            self,
            key.removeprefix("$").title(),
            api_id=self.api_id,
            route_key=key,
            authorization_type="NONE",
            target=f"integrations/{integration.ref}",
        )
        acknowledge(route, Reason.TICKET)
        return route


class Realtime(Construct):
    """The functions `<prefix>-socket` and `<prefix>-push`, and the API of the first one."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        prefix: str,
        table: ServiceTable,
        defaults: FunctionDefaults,
        base_environment: Mapping[str, str],
        settings: DeploySettings,
    ) -> None:
        super().__init__(scope, construct_id)
        self._table = table
        self._api = WebSocketApi(self, "WebSocket", name=f"{prefix}-socket", settings=settings)
        self._environment = {"CONNECTIONS_URL": self._api.address.connections_url}
        shared = {**base_environment, **self._environment}
        socket = PythonFunction(
            self,
            "Socket",
            name=f"{prefix}-socket",
            handler="functions.messaging.entrypoints.socket.handler",
            defaults=defaults,
            environment=shared,
            memory_mb=884,
            timeout=_TIMEOUT,
            permissions=[
                self._items("Tickets", ("GetItem", "UpdateItem"), "TICKET#*"),
                self._items(
                    "Followers",
                    ("BatchGetItem", "GetItem", "PutItem", "Query", "UpdateItem"),
                    "CONNECTION#*",
                    "CONNECTIONS#*",
                    "TOPIC#*",
                ),
                self._forgetting(),
                self._items("Log", ("GetItem", "Query"), "PROGRESS#*"),
            ],
        )
        self._api.allow(socket)
        self._api.serve(socket)
        self._push = PythonFunction(
            self,
            "Push",
            name=f"{prefix}-push",
            handler="functions.messaging.entrypoints.push.handler",
            defaults=defaults,
            environment=shared,
            # A frame costs CPU, which comes with memory: this is one vCPU.
            memory_mb=1769,
            timeout=_PUSH_TIMEOUT,
            permissions=[self._following(), self._forgetting()],
            failures=Reason.RESUMED,
        )
        self._api.allow(self._push)
        self._push.alias.configure_async_invoke(retry_attempts=2, max_event_age=_PUSH_MAX_AGE)
        acknowledge(self._push.alias, Reason.RESUMED)
        Alarms(
            self,
            "Alarms",
            prefix=prefix,
            topic_name=settings.alarm_topic,
            alarms=[
                Alarm(
                    name="push-failing",
                    says="Progress does not reach topics with many connections: see the log of "
                    f"{self._push.name}. Clients get it when they ask again.",
                    namespace="AWS/Lambda",
                    metric="Errors",
                    dimensions={"FunctionName": self._push.name},
                    above=0,
                    minutes=5,
                    periods=3,
                ),
            ],
        )

    def tickets(self) -> tuple[dict[str, str], Sequence[iam.PolicyStatement]]:
        """What the function needs that issues tickets: its environment and its rights."""
        return (
            {"WEBSOCKET_URL": self._api.address.client_url},
            [self._items("Tickets", ("PutItem",), "TICKET#*")],
        )

    def posting(self) -> tuple[dict[str, str], Sequence[iam.PolicyStatement]]:
        """What the function needs that takes progress, beside `allow_push`."""
        return (
            {**self._environment, "PUSH_FUNCTION": self.push_alias.function_arn},
            [
                self._items("Progress", ("GetItem", "PutItem", "UpdateItem"), "PROGRESS#*"),
                self._following(),
                self._forgetting(),
                invoke("Push", self.push_alias),
            ],
        )

    def allow_push(self, function: PythonFunction) -> None:
        """Let the function send to connections."""
        self._api.allow(function)

    @property
    def push_alias(self) -> lambda_.IFunction:
        """The function that pushes to many."""
        return self._push.alias

    def _following(self) -> iam.PolicyStatement:
        return self._items("Followers", ("GetItem", "Query"), "CONNECTION#*", "TOPIC#*")

    def _forgetting(self) -> iam.PolicyStatement:
        """Removing connections that are gone, and nothing else."""
        return self._items(
            "Gone",
            ("BatchWriteItem",),
            "CONNECTION#*",
            "CONNECTIONS#*",
            "TOPIC#*",
        )

    def _items(self, sid: str, actions: Sequence[str], *partitions: str) -> iam.PolicyStatement:
        return items(sid, self._table.table, actions, partitions=partitions)
