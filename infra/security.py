"""The rules that every synth is checked against, and the reviewed list of exceptions.

cdk-nag 3 reads acknowledgements from construct metadata. Each names its rule, its reason, and is
given at the narrowest construct that it is true of; tests/infra lists those in force.
"""

from enum import Enum

from aws_cdk import Acknowledgment, App, Validations
from cdk_nag import AwsSolutionsChecks, ServerlessChecks
from constructs import IConstruct


class Reason(Enum):
    """Rules that are not followed, by the reason for it."""

    RUNTIME = (
        ("AwsSolutions-L1", "Serverless-LambdaLatestVersion"),
        "Python 3.13 is the runtime that the locks, the bytecode and the tests are made for.",
    )
    SYNCHRONOUS = (
        ("Serverless-LambdaDLQ",),
        "API Gateway invokes this function synchronously: a failure is the caller's answer.",
    )
    QUEUED = (
        ("Serverless-LambdaDLQ", "Serverless-LambdaEventSourceMappingDestination"),
        "What fails goes back to the queue that it came from, and from there to its dead letters.",
    )
    STREAMED_FROM_TABLE = (
        ("Serverless-LambdaDLQ",),
        "The mapping from the table's stream has a failure destination.",
    )
    SCHEDULED = (
        ("Serverless-LambdaDLQ", "Serverless-LambdaAsyncFailureDestination"),
        "The next run does what this one left; an alarm tells of runs that do not come.",
    )
    SWEPT = (
        (
            "Serverless-LambdaDLQ",
            "Serverless-LambdaAsyncFailureDestination",
            "Serverless-LambdaEventSourceMappingDestination",
        ),
        "What this function leaves stays in the outbox for its next sweep; an alarm watches it.",
    )
    EVENTS_API = (
        (
            "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:execute-api:<AWS::Region>:<AWS::AccountId>:*/live/POST/api/v1/events/batch]",
            "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:execute-api:<AWS::Region>:<AWS::AccountId>:*/live/POST/api/v1/deliveries]",
            "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:execute-api:<AWS::Region>:<AWS::AccountId>:*/live/POST/api/v1/progress/batch]",
        ),
        "Another service's API is found at run time; its own policy says who may call it.",
    )
    REPLAYS = (
        (
            "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:events:<AWS::Region>:<AWS::AccountId>:replay/replay-*]",
        ),
        "Replays have ids of their own; EventBridge knows them by their names alone.",
    )
    NO_RESOURCE = (
        ("AwsSolutions-IAM5[Resource::*]",),
        "Putting traces and metrics and listing streams are actions without a resource.",
    )
    OBJECTS = (
        ("AwsSolutions-IAM5[Resource::<{bucket}.Arn>/{names}]",),
        "Objects of one bucket, by what their names begin or end with.",
    )

    MODELS = (
        (
            "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:bedrock:*::foundation-model/*]",
            "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:bedrock:<AWS::Region>:<AWS::AccountId>:inference-profile/*]",
        ),
        "Which models may be called is the account's model access; a profile spans regions.",
    )
    PROVIDER_KEYS = (
        (
            "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:secretsmanager:<AWS::Region>:<AWS::AccountId>:secret:{secrets}/*]",
        ),
        "The keys of the environment's model providers, which people put there by their names.",
    )
    WHOLE_API = (
        (
            "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:execute-api:<AWS::Region>:<AWS::AccountId>:<{api}>/*/*/*]",
        ),
        "The local operator may call every route of the service's API.",
    )
    RESUMED = (
        ("Serverless-LambdaDLQ", "Serverless-LambdaAsyncFailureDestination"),
        "A push that fails for good is resumed by its clients from the topic's log.",
    )
    CONNECTIONS = (
        (
            "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:execute-api:<AWS::Region>:<AWS::AccountId>:<{api}>/live/POST/@connections/*]",
        ),
        "Connections of one WebSocket API: which ones there are is known at run time.",
    )
    TICKET = (
        ("AwsSolutions-APIG4",),
        "Opening a connection takes a single-use ticket, which the function checks.",
    )
    API_GATEWAY_LOGS = (
        (
            "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs]",
        ),
        "AWS keeps this policy for exactly this: API Gateway's logs, for the whole account.",
    )
    NO_WAF = (
        ("AwsSolutions-APIG3",),
        "Only named roles of this account pass the resource policy: no public traffic.",
    )
    SIGNED_BY_IAM = (
        ("AwsSolutions-COG4",),
        "Services call this API under their roles (SigV4); people reach ProjectFlow only.",
    )
    LOGS_ALONE = (
        ("Serverless-LambdaTracing",),
        "What runs here may be anybody's page: its role writes a log, and sends no traces.",
    )
    ERASABLE = (
        ("AwsSolutions-DDB3",),
        "Deleting a key must erase it: a recovery could bring it back.",
    )
    LOG_BUCKET = (
        ("AwsSolutions-S1",),
        "This bucket holds the access logs of the others: logging its own would not end.",
    )
    NO_DEAD_LETTERS = (
        ("AwsSolutions-SQS3", "Serverless-SQSRedrivePolicy"),
        "This queue is where failures end; an alarm watches it.",
    )
    OPEN_ROUTE = (
        ("AwsSolutions-APIG4",),
        "GET /health answers anyone and touches nothing.",
    )

    @property
    def rules(self) -> tuple[str, ...]:
        """cdk-nag rule ids."""
        rules: tuple[str, ...] = self.value[0]
        return rules

    @property
    def text(self) -> str:
        """Why the rules do not hold here."""
        text: str = self.value[1]
        return text


def acknowledge(construct: IConstruct, *reasons: Reason, **logical_ids: str) -> None:
    """Record at `construct` why rules are not followed there.

    `logical_ids` fill the names in braces of a rule that speaks of one resource.
    """
    acknowledgments = [
        Acknowledgment(id=rule.format(**logical_ids), reason=reason.text)
        for reason in reasons
        for rule in reason.rules
    ]
    Validations.of(construct).acknowledge(*acknowledgments)


def check(app: App) -> None:
    """Run AwsSolutions and Serverless on synth, which fails on what is not acknowledged."""
    Validations.of(app).add_plugins(
        AwsSolutionsChecks(app, verbose=True), ServerlessChecks(app, verbose=True)
    )
