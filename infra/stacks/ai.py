"""The AI service: its table, its functions and its API."""

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra import bundles, bundling, routes
from infra.constructs.audit_outbox import AuditOutbox
from infra.constructs.jobs import Jobs
from infra.constructs.permissions import (
    acknowledge_objects,
    bucket_itself,
    items,
    objects,
    queries,
)
from infra.constructs.private_bucket import AccessLogs, PrivateBucket
from infra.constructs.python_function import FunctionDefaults, PythonFunction
from infra.constructs.request_context import RequestContextFunction
from infra.constructs.service_api import RouteGroup, ServiceApi
from infra.constructs.service_layers import service_layers
from infra.constructs.service_table import ALL_ATTRIBUTES, ServiceTable
from infra.constructs.upkeep import Upkeep
from infra.security import Reason, acknowledge
from infra.settings import LOCAL_OPERATOR, DeploySettings
from infra.stacks.environment import EnvironmentStack

_SERVICE = "ai"
_INDEXES = 2
# What has to be looked after some day, by its keys: an attribute that never changes is all that an
# index may hold beside them without being written to more often.
_DUE: Sequence[str] = ("session_id",)
_ACCESS_LOG_DAYS = 365
# Objects of projects; whatever else may come has another beginning.
_OBJECTS = "projects/*"
# ProjectFlow's functions call this service under their own roles, which have these names.
_CALLERS = ("projectflow-api", "projectflow-stream")


class AiStack(EnvironmentStack):
    """Everything of the AI service; it deploys and rolls back alone."""

    def __init__(self, scope: Construct, name: str, *, settings: DeploySettings) -> None:
        super().__init__(scope, name, settings=settings)
        platform = bundles.NATIVE if settings.native_platform else bundles.LAMBDA
        prefix = f"{settings.prefix}-{_SERVICE}"
        table = ServiceTable(
            self,
            "Table",
            name=prefix,
            indexes=[*[ALL_ATTRIBUTES] * _INDEXES, _DUE],
            retain=settings.retain_data,
            stream=True,
        )
        self._table = table.table
        self._content = self._content_bucket()
        defaults = FunctionDefaults(
            service=_SERVICE,
            code=bundling.code(
                bundles.SourceBundle(("functions/ai", "contracts"), platform=platform)
            ),
            layers=service_layers(self, lock="functions/ai/requirements.txt", platform=platform),
            log_retention=settings.log_retention,
            snap_start=settings.snap_start,
        )
        environment = self._environment()

        api_function = PythonFunction(
            self,
            "ApiFunction",
            name=f"{prefix}-api",
            handler="functions.ai.entrypoints.api.handler",
            defaults=defaults,
            environment=environment,
            # CPU comes with memory (1,769 MB is one vCPU): half of one keeps cold starts short.
            memory_mb=884,
            timeout=Duration.seconds(29),
            permissions=[
                *self._conversations(),
                *self._listings(),
                *self._images("DeleteObject"),
                self._keys("secretsmanager:DescribeSecret"),
            ],
        )
        stream_function = PythonFunction(
            self,
            "StreamFunction",
            name=f"{prefix}-stream",
            handler="functions/ai/stream.sh",
            defaults=defaults,
            environment=environment | self._model_environment(),
            memory_mb=884,
            timeout=Duration.minutes(15),
            permissions=[
                *self._conversations(),
                *self._images(),
                self._models(),
                self._keys("secretsmanager:GetSecretValue"),
                # Of a user's sessions, for an export.
                self._table_statement("Users", ("Query",), f"{self._table.table_arn}/index/gsi2"),
            ],
            streamed=True,
            trusted_roles=[LOCAL_OPERATOR] if settings.trust_local_operator else [],
        )
        acknowledge(stream_function.role, Reason.MODELS)
        streamed = (
            stream_function
            if settings.response_streaming
            else RequestContextFunction(
                self, "RequestContext", name=f"{prefix}-request-context", defaults=defaults
            )
        )
        AuditOutbox(
            self,
            "Audit",
            service=_SERVICE,
            table=table,
            defaults=defaults,
            environment=self._base_environment(),
            settings=settings,
        )
        jobs = Jobs(
            self,
            "Jobs",
            prefix=prefix,
            table=table,
            defaults=defaults,
            base_environment=self._common_environment(),
            worker_environment=environment | self._model_environment(),
            worker_permissions=[
                *self._conversations(),
                *self._images(),
                self._models(),
                self._keys("secretsmanager:GetSecretValue"),
            ],
            settings=settings,
        )
        acknowledge(jobs.worker.role, Reason.MODELS)
        upkeep = Upkeep(
            self,
            "Upkeep",
            prefix=prefix,
            service=_SERVICE,
            defaults=defaults,
            environment={**self._storage_environment(), **jobs.urls},
            permissions=[
                items("Conversations", self._table, ("GetItem", "PutItem", "Query", "UpdateItem")),
                queries("Due", table, "gsi3"),
                *jobs.sending(settings),
                self._deletions(),
                objects("Images", self._content, ("DeleteObject",), _OBJECTS),
                bucket_itself("ImagesFound", self._content, ("ListBucket",)),
            ],
            settings=settings,
        )
        for role in (api_function.role, stream_function.role, jobs.worker.role):
            acknowledge(role, Reason.PROVIDER_KEYS, secrets=self._secrets)
        for function in (api_function, stream_function, jobs.worker, upkeep.function):
            acknowledge_objects(function.role, self._content, _OBJECTS)
        all_routes = routes.load("ai.v1")
        api = ServiceApi(
            self,
            "Api",
            name=prefix,
            groups=[
                RouteGroup(
                    routes=[route for route in all_routes if route.streamed == is_streamed],
                    function=function.alias,
                    callers=self._callers(),
                )
                for is_streamed, function in ((False, api_function), (True, streamed))
            ],
            stream_responses=settings.response_streaming,
            throttling_rate=settings.throttling_rate,
            throttling_burst=settings.throttling_burst,
            log_retention=settings.log_retention,
        ).api
        self.publish(_SERVICE, api)
        if settings.trust_local_operator:
            self.admit_operator(_SERVICE, api, runs_as=[stream_function.role])

    def _common_environment(self) -> dict[str, str]:
        """What all functions read."""
        return {
            "ENVIRONMENT": self._settings.environment,
            "POWERTOOLS_SERVICE_NAME": "ai-service",
            "POWERTOOLS_LOG_LEVEL": "INFO",
        }

    def _base_environment(self) -> dict[str, str]:
        """What all functions read that know the table."""
        return self._common_environment() | {"TABLE_NAME": self._table.table_name}

    def _storage_environment(self) -> dict[str, str]:
        """What all functions read that know conversations."""
        settings = self._settings
        return self._base_environment() | {
            "CONTENT_BUCKET": self._content.bucket_name,
            "TURN_RETENTION_DAYS": str(settings.turn_retention_days),
            "SESSION_DAYS": str(settings.session_days),
        }

    def _environment(self) -> dict[str, str]:
        """What both functions behind the API read: the fields of the service's settings model."""
        settings = self._settings
        return self._storage_environment() | {
            "DEFAULT_MODEL": settings.default_model,
            "ADDITIONAL_MODELS": ",".join(settings.additional_models),
            "ROUTING": settings.routing,
            "IDEMPOTENCY_WINDOW_SECONDS": str(settings.idempotency_window_seconds),
            "OPENAI_COMPATIBLE_URL": settings.openai_compatible_url,
        }

    def _model_environment(self) -> dict[str, str]:
        """What the functions read that call models."""
        settings = self._settings
        return {
            "OPENAI_URL": settings.openai_url,
            "ANTHROPIC_URL": settings.anthropic_url,
            "GEMINI_URL": settings.gemini_url,
            "PRELOAD_SDKS": str(settings.snap_start).lower(),
            "MODEL_FIRST_BYTE_TIMEOUT_SECONDS": "60",
            "MODEL_IDLE_TIMEOUT_SECONDS": "120",
        }

    @property
    def _secrets(self) -> str:
        """What the names of the providers' keys begin with."""
        return f"{self._settings.prefix.replace('-', '/')}/providers"

    def _keys(self, action: str) -> iam.PolicyStatement:
        """The keys of model providers, which people put there: no stack makes them."""
        secrets = f"arn:{self.partition}:secretsmanager:{self.region}:{self.account}:secret"
        return iam.PolicyStatement(
            sid="ProviderKeys",
            actions=[action],
            # Secrets Manager adds six characters to a secret's name.
            resources=[f"{secrets}:{self._secrets}/*"],
        )

    def _conversations(self) -> list[iam.PolicyStatement]:
        """Reading sessions and adding to them, by key."""
        actions = ("GetItem", "BatchGetItem", "PutItem", "UpdateItem", "Query")
        return [
            self._table_statement("Conversations", actions, self._table.table_arn),
            # What is held of a budget ends with its turn, and a budget when it is removed.
            items("Budgets", self._table, ("DeleteItem",), partitions=["BUDGET#*"]),
        ]

    def _content_bucket(self) -> s3.IBucket:
        """Images of conversations, which end with their session.

        What a deletion misses (a file that came while its session was deleted, or for a turn that
        did not begin) ends by the rule.
        """
        settings = self._settings
        kept = Duration.days(settings.content_retention_days)
        return PrivateBucket(
            self,
            "Content",
            logs=AccessLogs(self, "AccessLogs", days=_ACCESS_LOG_DAYS),
            lifecycle_rules=[s3.LifecycleRule(expiration=kept)],
            retain=settings.retain_data,
        ).bucket

    def _images(self, *more: str) -> list[iam.PolicyStatement]:
        """Reading and storing images by key, and `more` actions on them."""
        return [
            objects("Images", self._content, ("GetObject", "PutObject", *more), _OBJECTS),
            bucket_itself("ImagesFound", self._content, ("ListBucket",)),
        ]

    def _listings(self) -> list[iam.PolicyStatement]:
        """Lists over the indexes, and the deletion of a session with its messages, of a policy."""
        indexes = [f"{self._table.table_arn}/index/gsi{n}" for n in range(1, _INDEXES + 1)]
        return [
            self._table_statement("Lists", ("Query",), *indexes),
            self._deletions(),
            items("Policies", self._table, ("DeleteItem",), partitions=["ROUTING#*"]),
        ]

    def _deletions(self) -> iam.PolicyStatement:
        """Of sessions with what belongs to them; not of audit records on their way."""
        actions = ("DeleteItem", "BatchWriteItem")
        return items("Deletions", self._table, actions, partitions=["SESSION#*", "TURN#*"])

    @staticmethod
    def _table_statement(sid: str, actions: Sequence[str], *resources: str) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            sid=sid,
            actions=[f"dynamodb:{action}" for action in actions],
            resources=list(resources),
        )

    def _models(self) -> iam.PolicyStatement:
        """Foundation models, and the account's inference profiles that lead to them."""
        return iam.PolicyStatement(
            sid="Models",
            actions=list(self._settings.model_actions),
            resources=[
                f"arn:{self.partition}:bedrock:*::foundation-model/*",
                f"arn:{self.partition}:bedrock:{self.region}:{self.account}:inference-profile/*",
            ],
        )

    def _callers(self) -> list[str]:
        services = [f"{self._settings.prefix}-{caller}" for caller in _CALLERS]
        return [*services, *self._settings.operator_role_names]
