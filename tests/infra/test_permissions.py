"""Least privilege, read off the synthesized policies."""

import json

# Everything a role of ours may do, by the last part of its name. What is not here fails the test.
TABLE = {
    f"dynamodb:{action}"
    for action in ("GetItem", "BatchGetItem", "PutItem", "UpdateItem", "DeleteItem", "Query")
}
TRACES = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
STREAM = {
    f"dynamodb:{action}"
    for action in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
}
# What CDK grants for a failure destination.
FAILURES = {f"sqs:{action}" for action in ("GetQueueAttributes", "GetQueueUrl", "SendMessage")}
METRICS = {"cloudwatch:PutMetricData"}
QUEUE = {
    f"sqs:{action}"
    for action in (
        "ChangeMessageVisibility",
        "DeleteMessage",
        "GetQueueAttributes",
        "ReceiveMessage",
    )
}


def dynamodb(*actions):
    return {f"dynamodb:{action}" for action in actions}


def s3(*actions):
    return {f"s3:{action}" for action in actions}


STORING = dynamodb("BatchGetItem", "GetItem", "PutItem") | {"kms:Decrypt", "kms:GenerateDataKey"}
READING = dynamodb("BatchGetItem", "GetItem", "Query")
# MiniStack asks for an action of the second name, which AWS does not have.
SENDING = {"sqs:SendMessage", "sqs:SendMessageBatch"}
AUDIT = {
    f"audit-{name}": actions | LOGS | TRACES
    for name, actions in {
        "ingest": STORING,
        "intake": STORING | QUEUE,
        "query": READING
        | dynamodb("PutItem")
        | s3("GetObject", "ListBucket")
        | {"kms:Decrypt", "kms:GetPublicKey", "lambda:InvokeFunction", "sqs:SendMessage"}
        | METRICS,
        "control": dynamodb("DeleteItem", "GetItem") | {"lambda:InvokeFunction", "sqs:SendMessage"},
        "sealer": dynamodb("BatchGetItem", "BatchWriteItem", "GetItem", "PutItem", "Query")
        | s3("GetObject", "ListBucket", "PutObject")
        | {"kms:GetPublicKey", "kms:Sign"}
        | METRICS,
        "archiver": STREAM | FAILURES | METRICS | {"firehose:PutRecordBatch"},
        "watcher": STREAM | FAILURES | METRICS,
        "cold": s3("GetObject", "ListBucket"),
        "exporter": READING
        | dynamodb("PutItem")
        | METRICS
        | s3(
            "AbortMultipartUpload",
            "GetBucketLocation",
            "ListBucketMultipartUploads",
            "GetObject",
            "ListBucket",
            "ListMultipartUploadParts",
            "PutObject",
        )
        | QUEUE
        | {"athena:GetQueryExecution", "athena:StartQueryExecution", "kms:GetPublicKey"}
        | {"lambda:InvokeFunction"}
        | {"glue:GetDatabase", "glue:GetPartitions", "glue:GetTable"},
        "reconciler": dynamodb("BatchGetItem", "GetItem", "PutItem", "Query") | METRICS,
    }.items()
} | {
    "audit-sealer-schedule": {"lambda:InvokeFunction"},
    "audit-reconciler-schedule": {"lambda:InvokeFunction"},
    "audit-archive-delivery": s3(
        "AbortMultipartUpload",
        "GetBucketLocation",
        "GetObject",
        "ListBucket",
        "ListBucketMultipartUploads",
        "PutObject",
    )
    | {"glue:GetTable", "glue:GetTableVersion", "glue:GetTableVersions", "logs:PutLogEvents"},
}
PUT_EVENTS = {"events:PutEvents"}
# The outbox, the address of the audit sink, and the one route of its API.
AUDIT_SENDER = (
    dynamodb("BatchWriteItem", "DeleteItem", "Query", "UpdateItem")
    | {"execute-api:Invoke", "ssm:GetParameter"}
    | METRICS
    | STREAM
)
# Lives of events, dead letters, known consumers.
REPORTING = dynamodb("BatchWriteItem", "GetItem", "UpdateItem")
MESSAGING = {
    f"messaging-{name}": actions | LOGS | TRACES
    for name, actions in {
        "audit": AUDIT_SENDER,
        "control": dynamodb(
            "BatchGetItem", "DeleteItem", "GetItem", "PutItem", "Query", "UpdateItem"
        )
        | {"sqs:GetQueueAttributes", "sqs:SendMessage", "cloudwatch:GetMetricData"}
        | {"events:CancelReplay", "events:DescribeReplay", "events:StartReplay"},
        "publish": REPORTING
        | dynamodb("PutItem", "Query")
        | PUT_EVENTS
        | {"execute-api:ManageConnections", "lambda:InvokeFunction"},
        "push": dynamodb("BatchWriteItem", "GetItem", "Query") | {"execute-api:ManageConnections"},
        "deliver": dynamodb("BatchWriteItem", "GetItem", "PutItem", "Query", "UpdateItem")
        | QUEUE
        | SENDING
        | PUT_EVENTS,
        "due": dynamodb("GetItem", "PutItem", "Query", "UpdateItem") | SENDING | PUT_EVENTS,
        "relay": REPORTING | dynamodb("PutItem", "Query") | QUEUE | SENDING,
        "socket": dynamodb("BatchGetItem", "BatchWriteItem", "GetItem", "PutItem", "Query")
        | dynamodb("UpdateItem")
        | {"execute-api:ManageConnections"},
        "sweep": dynamodb("Query", "UpdateItem") | PUT_EVENTS | METRICS,
        "tasks": REPORTING | dynamodb("Query") | PUT_EVENTS | QUEUE | SENDING,
    }.items()
} | {f"messaging-{name}-schedule": {"lambda:InvokeFunction"} for name in ("audit", "due", "sweep")}
BROWSER = {
    f"browser-{name}": actions | LOGS | TRACES
    for name, actions in {
        "api": dynamodb("GetItem", "PutItem", "Query", "UpdateItem")
        | s3("DeleteObject", "GetObject", "ListBucket", "PutObject")
        | {"lambda:InvokeFunction"},
        "audit": AUDIT_SENDER,
        "reap": dynamodb("Query", "UpdateItem") | s3("DeleteObject", "ListBucket"),
    }.items()
} | {f"browser-{name}-schedule": {"lambda:InvokeFunction"} for name in ("audit", "reap")}
IMAGES = s3("GetObject", "ListBucket", "PutObject")
ALLOWED = {
    "ai-api": TABLE
    | {"dynamodb:BatchWriteItem", "secretsmanager:DescribeSecret"}
    | IMAGES
    | s3("DeleteObject")
    | LOGS
    | TRACES,
    "ai-stream": TABLE
    | IMAGES
    | LOGS
    | TRACES
    | {"bedrock:InvokeModelWithResponseStream", "bedrock:ConverseStream"}
    | {"secretsmanager:GetSecretValue"},
    "ai-request-context": LOGS | TRACES,
    "ai-worker": TABLE
    | IMAGES
    | LOGS
    | TRACES
    | QUEUE
    | dynamodb("BatchGetItem", "DeleteItem")
    | {"bedrock:InvokeModelWithResponseStream", "bedrock:ConverseStream"}
    | {"secretsmanager:GetSecretValue", "execute-api:Invoke", "ssm:GetParameter"},
    "ai-dispatch": {"sqs:SendMessage", "sqs:SendMessageBatch"}
    | {"execute-api:Invoke", "ssm:GetParameter"}
    | STREAM
    | FAILURES
    | LOGS
    | TRACES,
    "ai-upkeep": dynamodb(
        "BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query", "UpdateItem"
    )
    | {"sqs:SendMessage", "sqs:SendMessageBatch"}
    | s3("DeleteObject", "ListBucket")
    | LOGS
    | TRACES,
    "ai-upkeep-schedule": {"lambda:InvokeFunction"},
    **AUDIT,
    **BROWSER,
    # Traces in the local cloud alone.
    "browser-worker": LOGS | TRACES,
    **MESSAGING,
    "ai-audit": {f"dynamodb:{action}" for action in ("Query", "UpdateItem", "DeleteItem")}
    | {"dynamodb:BatchWriteItem", "execute-api:Invoke", "ssm:GetParameter"}
    | {"cloudwatch:PutMetricData"}
    | STREAM
    | LOGS
    | TRACES,
    "ai-audit-schedule": {"lambda:InvokeFunction"},
}

# Statements on resources that are not named whole, each with the reason.
WILDCARDS = {
    "xray:PutTelemetryRecords": "X-Ray's put actions take no resource",
    "xray:PutTraceSegments": "X-Ray's put actions take no resource",
    "bedrock:InvokeModelWithResponseStream": "the account's model access decides which models",
    "bedrock:ConverseStream": "MiniStack's name for InvokeModelWithResponseStream",
    "secretsmanager:DescribeSecret": "keys of the environment's model providers, by their names",
    "secretsmanager:GetSecretValue": "the same",
    "execute-api:ManageConnections": "connections of one API, known at run time",
    "execute-api:Invoke": "the local operator may call every route of the API",
    "cloudwatch:PutMetricData": "takes no resource; a condition names the namespace",
    "dynamodb:ListStreams": "takes no resource",
    "cloudwatch:GetMetricData": "takes no resource",
    **dict.fromkeys(
        (f"events:{action}Replay" for action in ("Cancel", "Describe", "Start")),
        "replays have ids of their own; MiniStack asks for rights without naming any",
    ),
    **dict.fromkeys(
        s3(
            "AbortMultipartUpload",
            "DeleteObject",
            "GetObject",
            "ListMultipartUploadParts",
            "PutObject",
        ),
        "objects of a bucket, by the beginning or end of their names",
    ),
    "logs:PutLogEvents": "Firehose's streams in its own log group",
    "athena:GetQueryExecution": "MiniStack does not know the workgroup of a query",
}


# Who may take a role on, by the last part of its name; Lambda takes on the others.
SERVICES = {"schedule": "scheduler", "delivery": "firehose"}


def as_list(value):
    return value if isinstance(value, list) else [value]


def statements(templates):
    """(role name, statement) of every policy; the role by name or logical id."""
    for stack in templates.stacks:
        roles = templates.resources("AWS::IAM::Role", stack)
        for policy in templates.resources("AWS::IAM::Policy", stack).values():
            properties = policy["Properties"]
            for role in properties["Roles"]:
                name = (
                    roles[role["Ref"]]["Properties"].get("RoleName", role["Ref"])
                    if isinstance(role, dict)
                    else role
                )
                for statement in properties["PolicyDocument"]["Statement"]:
                    yield name, statement


def test_actions_are_explicit_and_listed(templates):
    seen = {}
    for role, statement in statements(templates):
        actions = set(as_list(statement["Action"]))
        assert not any("*" in action for action in actions), role
        assert "NotAction" not in statement
        if role == "local-operator":
            assert actions <= {"execute-api:Invoke", "sts:AssumeRole"}
            continue
        short = role.split("-", 2)[2]
        assert actions <= ALLOWED[short], (role, actions - ALLOWED[short])
        seen.setdefault(short, set()).update(actions)
    assert {"ai-api", "ai-stream"} <= set(seen)
    # MiniStack's name for SendMessage; AWS has no such action.
    assert seen["ai-dispatch"] | {"sqs:SendMessageBatch"} == ALLOWED["ai-dispatch"]
    for short, allowed in (AUDIT | BROWSER | MESSAGING).items():
        # An environment has one of the two names of sending.
        either = SENDING if allowed >= SENDING and seen[short] & SENDING else set()
        assert seen[short] | either == allowed, short


def test_resources_are_named_whole_but_for_those_with_a_reason(templates):
    for role, statement in statements(templates):
        for resource in as_list(statement["Resource"]):
            if "*" in json.dumps(resource):
                unexplained = set(as_list(statement["Action"])) - set(WILDCARDS)
                assert not unexplained, (role, resource, unexplained)


def test_functions_reach_images_of_projects_alone(templates):
    reached = {}
    for role, statement in statements(templates):
        actions = {a for a in as_list(statement["Action"]) if a.endswith("Object")}
        if role.split("-")[2:3] == ["ai"] and actions:
            assert json.dumps(statement["Resource"]).count("/projects/*") == 1
            reached[role.split("-", 2)[2]] = actions
    assert reached == {
        "ai-api": s3("DeleteObject", "GetObject", "PutObject"),
        "ai-stream": s3("GetObject", "PutObject"),
        "ai-worker": s3("GetObject", "PutObject"),
        "ai-upkeep": s3("DeleteObject"),
    }


def test_a_service_touches_only_what_its_own_stack_holds(templates):
    """Tables and queues of another service could only be named by an ARN: there are none."""
    for role, statement in statements(templates):
        for resource in as_list(statement["Resource"]):
            text = json.dumps(resource)
            for foreign in ("arn:aws:dynamodb", ":dynamodb:", ":sqs:", ":s3:::"):
                assert foreign not in text, (role, resource)


def test_roles_trust_one_service_alone(templates):
    local = "local-operator" in json.dumps(templates.stacks["foundation"])
    for stack in ("ai", "audit"):
        for role in templates.resources("AWS::IAM::Role", stack).values():
            name = role["Properties"]["RoleName"]
            for statement in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
                principal = statement["Principal"]
                if "AWS" in principal:
                    assert local
                    assert "role/local-operator" in json.dumps(principal)
                    assert name.endswith("-stream")
                else:
                    kind = name.rpartition("-")[2]
                    service = SERVICES.get(kind, "lambda")
                    assert principal == {"Service": f"{service}.amazonaws.com"}
                    if service != "lambda":
                        account = statement["Condition"]["StringEquals"]["aws:SourceAccount"]
                        assert account == {"Ref": "AWS::AccountId"}


def test_actions_that_aws_does_not_have_stay_in_the_local_cloud(prod):
    text = json.dumps(prod.stacks)
    assert "bedrock:ConverseStream" not in text
    assert "sqs:SendMessageBatch" not in text


def test_only_the_local_cloud_has_an_operator(prod, local):
    assert "local-operator" not in json.dumps(prod.stacks)
    assert "local-operator" in json.dumps(local.stacks)
