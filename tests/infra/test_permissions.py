"""Least privilege, read off the synthesized policies."""

import json

# Everything a role of ours may do, by the last part of its name. What is not here fails the test.
TABLE = {f"dynamodb:{action}" for action in ("GetItem", "PutItem", "UpdateItem", "Query")}
TRACES = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
STREAM = {
    f"dynamodb:{action}"
    for action in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
}
ALLOWED = {
    "ai-api": TABLE | {"dynamodb:DeleteItem", "dynamodb:BatchWriteItem"} | LOGS | TRACES,
    "ai-stream": TABLE
    | LOGS
    | TRACES
    | {"bedrock:InvokeModelWithResponseStream", "bedrock:ConverseStream"},
    "ai-request-context": LOGS | TRACES,
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
    "execute-api:Invoke": "the local operator may call every route of the API",
}


def as_list(value):
    return value if isinstance(value, list) else [value]


def statements(templates):
    """(role name, statement) of every policy; the role by name or logical id."""
    roles = {
        logical_id: role["Properties"].get("RoleName", logical_id)
        for logical_id, role in templates.resources("AWS::IAM::Role").items()
    }
    for policy in templates.resources("AWS::IAM::Policy").values():
        properties = policy["Properties"]
        for role in properties["Roles"]:
            name = roles[role["Ref"]] if isinstance(role, dict) else role
            for statement in properties["PolicyDocument"]["Statement"]:
                yield name, statement


def test_actions_are_explicit_and_listed(templates):
    seen = set()
    for role, statement in statements(templates):
        actions = set(as_list(statement["Action"]))
        assert not any("*" in action for action in actions), role
        assert "NotAction" not in statement
        if role == "local-operator":
            assert actions <= {"execute-api:Invoke", "sts:AssumeRole"}
            continue
        short = role.split("-", 2)[2]
        assert actions <= ALLOWED[short], (role, actions - ALLOWED[short])
        seen.add(short)
    assert {"ai-api", "ai-stream"} <= seen


def test_resources_are_named_whole_but_for_those_with_a_reason(templates):
    for role, statement in statements(templates):
        for resource in as_list(statement["Resource"]):
            if "*" in json.dumps(resource):
                unexplained = set(as_list(statement["Action"])) - set(WILDCARDS)
                assert not unexplained, (role, resource, unexplained)


def test_a_service_touches_only_what_its_own_stack_holds(templates):
    """Tables and queues of another service could only be named by an ARN: there are none."""
    for role, statement in statements(templates):
        for resource in as_list(statement["Resource"]):
            text = json.dumps(resource)
            for foreign in ("arn:aws:dynamodb", ":dynamodb:", ":sqs:", ":s3:::"):
                assert foreign not in text, (role, resource)


def test_roles_trust_lambda_alone(templates):
    local = "local-operator" in json.dumps(templates.stacks["foundation"])
    for role in templates.resources("AWS::IAM::Role", "ai").values():
        for statement in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
            principal = statement["Principal"]
            if "AWS" in principal:
                assert local
                assert "role/local-operator" in json.dumps(principal)
                assert role["Properties"]["RoleName"].endswith("-stream")
            else:
                assert principal == {"Service": "lambda.amazonaws.com"}


def test_actions_that_aws_does_not_have_stay_in_the_local_cloud(prod):
    assert "bedrock:ConverseStream" not in json.dumps(prod.stacks)


def test_only_the_local_cloud_has_an_operator(prod, local):
    assert "local-operator" not in json.dumps(prod.stacks)
    assert "local-operator" in json.dumps(local.stacks)
