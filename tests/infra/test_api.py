"""The REST API as API Gateway sees it."""

import fnmatch
import json

import pytest

from infra import routes
from infra.constructs.service_api import RouteGroup, resource_policy

ROUTES = {
    service: routes.load(f"{service}.v1") for service in ("ai", "audit", "browser", "messaging")
}
AI = ROUTES["ai"]
SERVICES = pytest.mark.parametrize("service", list(ROUTES))


def methods(templates, service="ai"):
    """(verb, path) -> properties, paths rebuilt from the tree of resources."""
    template = templates.stacks[service]["Resources"]

    def path(reference):
        if "Fn::GetAtt" in reference:
            return ""
        resource = template[reference["Ref"]]["Properties"]
        return f"{path(resource['ParentId'])}/{resource['PathPart']}"

    return {
        (method["Properties"]["HttpMethod"], path(method["Properties"]["ResourceId"])): method[
            "Properties"
        ]
        for method in template.values()
        if method["Type"] == "AWS::ApiGateway::Method"
    }


@SERVICES
def test_the_routes_are_those_of_the_contract(templates, service):
    expected = {(route.method, route.path) for route in ROUTES[service]}
    assert set(methods(templates, service)) == expected


@SERVICES
def test_all_but_health_are_signed(templates, service):
    for (verb, path), method in methods(templates, service).items():
        expected = "NONE" if (verb, path) == ("GET", "/health") else "AWS_IAM"
        assert method["AuthorizationType"] == expected, path


def test_what_takes_its_time_streams_from_the_streaming_function_for_up_to_15_minutes(prod):
    streamed = {
        key: method["Integration"]
        for key, method in methods(prod).items()
        if method["Integration"].get("ResponseTransferMode") == "STREAM"
    }
    assert set(streamed) == {
        ("POST", "/api/v1/chat"),
        ("POST", "/api/v1/chat/stream"),
        ("GET", "/api/v1/turns/{turn_id}/events"),
        ("GET", "/api/v1/users/{user_id}/export"),
    }
    for integration in streamed.values():
        assert integration["TimeoutInMillis"] == 15 * 60 * 1000
        uri = json.dumps(integration["Uri"])
        assert "2021-11-15" in uri
        assert "response-streaming-invocations" in uri
        assert "StreamFunctionLive" in uri


def test_the_local_cloud_keeps_the_authorization_of_streamed_methods(prod, local):
    for key, method in methods(prod).items():
        twin = methods(local)[key]
        for part in ("AuthorizationType", "RequestModels", "RequestParameters"):
            assert method.get(part) == twin.get(part)


@SERVICES
def test_requests_are_validated(templates, service):
    bodies = {(route.method, route.path) for route in ROUTES[service] if route.has_body}
    assert bodies
    for (verb, path), method in methods(templates, service).items():
        assert "RequestValidatorId" in method, path
        assert ("RequestModels" in method) == ((verb, path) in bodies), path


def test_what_a_query_must_say_is_validated(templates):
    created = methods(templates)["POST", "/api/v1/sessions"]
    assert created["RequestParameters"] == {"method.request.querystring.user_id": True}


def policy_of(templates, service):
    (api,) = templates.resources("AWS::ApiGateway::RestApi", service).values()
    assert api["Properties"]["EndpointConfiguration"]["Types"] == ["REGIONAL"]
    return api["Properties"]["Policy"]["Statement"]


def may_call(statements, role, route):
    """Whether the resource policy lets a role of the account through to a route."""
    path = f"/live/{route.method}{route.path}"
    for statement in statements:
        resources = statement["Resource"]
        patterns = [resources] if isinstance(resources, str) else resources
        if statement["Effect"] != "Deny" or not any(
            fnmatch.fnmatchcase(path, pattern.removeprefix("execute-api:")) for pattern in patterns
        ):
            continue
        condition = statement.get("Condition")
        if condition is None:
            return False
        callers = [
            arn["Fn::Join"][1][-1].removeprefix(":role/")
            for arn in condition["StringNotLike"]["aws:PrincipalArn"]
        ]
        if not any(fnmatch.fnmatchcase(role, caller) for caller in callers):
            return False
    return True


@SERVICES
def test_everyone_reaches_health_and_nothing_else(prod, service):
    opened, *denied = policy_of(prod, service)
    assert opened["Effect"] == "Allow"
    assert opened["Resource"] == "execute-api:/live/GET/health"
    for statement in denied:
        assert statement["Effect"] == "Deny"
        assert statement["Principal"] == {"AWS": "*"}
    for route in ROUTES[service]:
        assert may_call(denied, "stranger", route) == (not route.signed), route.path


def test_the_ai_service_is_called_by_projectflow(prod):
    for route in AI:
        for role in ("projectflow-api", "projectflow-stream"):
            assert may_call(policy_of(prod, "ai"), f"santaclaude-prod-{role}", route)


@pytest.mark.parametrize(
    ("role", "reports", "reads"),
    [
        ("projectflow-api", True, True),
        ("projectflow-stream", True, False),
        ("ai-audit", True, False),
        ("messaging-outbox", True, False),
        ("browser-api", True, False),
        ("ai-api", False, False),
        ("audit-query", False, False),
    ],
)
def test_who_may_report_and_who_may_read(prod, role, reports, reads):
    statements = policy_of(prod, "audit")
    for route in ROUTES["audit"]:
        if not route.signed:
            continue
        expected = reads
        if route.collection in {"flush", "subjects"}:
            # Operators' alone: there are none unless the deployment names some.
            expected = False
        elif route.method == "POST" and route.collection == "events":
            expected = reports
        assert may_call(statements, f"santaclaude-prod-{role}", route) == expected, route.path


def test_an_operator_may_call_every_route(local):
    for service, known in ROUTES.items():
        for route in known:
            assert may_call(policy_of(local, service), "local-operator", route)


def test_each_route_goes_to_its_function(templates):
    for (verb, path), method in methods(templates, "audit").items():
        function = "Query"
        if verb == "POST" and path.startswith("/api/v1/events"):
            function = "Ingest"
        elif path.startswith(("/api/v1/flush", "/api/v1/subjects")):
            function = "Control"
        assert f"{function}FunctionLive" in json.dumps(method["Integration"]["Uri"]), path


def group(*paths, callers=("a",)):
    made = [
        routes.Route(
            method="GET",
            path=path,
            tag="t",
            streamed=False,
            signed=True,
            has_body=False,
            required_query=(),
        )
        for path in paths
    ]
    return RouteGroup(routes=made, function=None, callers=callers)


def test_routes_that_a_star_would_confuse_are_refused():
    groups = [group("/x/{id}"), group("/x/{id}/secret", callers=("b",))]
    with pytest.raises(ValueError, match="secret also matches"):
        resource_policy(groups)
    resource_policy([group("/x/{id}"), group("/y/{id}", callers=("b",))])


def test_a_policy_that_api_gateway_would_refuse_is_refused_here():
    with pytest.raises(ValueError, match="8192 are allowed"):
        resource_policy([group("/x", callers=[f"role-{n:050}" for n in range(40)])])


def test_stages_log_throttle_and_trace(templates):
    for stage in templates.resources("AWS::ApiGateway::Stage").values():
        properties = stage["Properties"]
        assert properties["TracingEnabled"]
        log = json.loads(properties["AccessLogSetting"]["Format"])
        assert log["route"] == "$context.resourcePath"
        assert not any("path" in value and "resourcePath" not in value for value in log.values())
        (settings,) = properties["MethodSettings"]
        assert settings["DataTraceEnabled"] is False
        assert settings["ThrottlingRateLimit"] > 0


def test_the_gateways_own_errors_are_problems(templates):
    responses = templates.resources("AWS::ApiGateway::GatewayResponse").values()
    assert len(responses) >= 15
    for response in responses:
        properties = response["Properties"]
        assert (
            properties["ResponseParameters"]["gatewayresponse.header.Content-Type"]
            == "'application/problem+json'"
        )
        text = properties["ResponseTemplates"]["application/json"]
        problem = json.loads(text.replace("$context.error.messageString", '"why"'))
        assert set(problem) == {"type", "title", "status", "detail", "code", "request_id"}


@SERVICES
@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_operational_routes_are_there(prod, service, path):
    assert ("GET", path) in methods(prod, service)
