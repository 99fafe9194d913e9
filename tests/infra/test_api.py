"""The REST API as API Gateway sees it."""

import json

import pytest

from infra import routes

AI = routes.load("ai.v1")


def methods(templates):
    """(verb, path) -> properties, paths rebuilt from the tree of resources."""
    template = templates.stacks["ai"]["Resources"]

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


def test_the_routes_are_those_of_the_contract(templates):
    assert set(methods(templates)) == {(route.method, route.path) for route in AI}


def test_all_but_health_are_signed(templates):
    for (verb, path), method in methods(templates).items():
        expected = "NONE" if (verb, path) == ("GET", "/health") else "AWS_IAM"
        assert method["AuthorizationType"] == expected, path


def test_chats_stream_from_the_streaming_function_for_up_to_15_minutes(prod):
    streamed = {
        path
        for (_, path), method in methods(prod).items()
        if method["Integration"].get("ResponseTransferMode") == "STREAM"
    }
    assert streamed == {"/api/v1/chat", "/api/v1/chat/stream"}
    for path in streamed:
        integration = methods(prod)["POST", path]["Integration"]
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


def test_requests_are_validated(templates):
    for (verb, path), method in methods(templates).items():
        assert "RequestValidatorId" in method, path
        if verb in {"POST", "PATCH", "PUT"}:
            assert "application/json" in method["RequestModels"], path
    created = methods(templates)["POST", "/api/v1/sessions"]
    assert created["RequestParameters"] == {"method.request.querystring.user_id": True}


def test_the_resource_policy_denies_all_but_the_named_roles(prod):
    (api,) = prod.resources("AWS::ApiGateway::RestApi").values()
    assert api["Properties"]["EndpointConfiguration"]["Types"] == ["REGIONAL"]
    opened, denied = api["Properties"]["Policy"]["Statement"]
    assert opened["Effect"] == "Allow"
    assert opened["Resource"] == "execute-api:/live/GET/health"
    assert denied["Effect"] == "Deny"
    assert denied["Principal"] == {"AWS": "*"}
    covered = [pattern.removeprefix("execute-api:/*/*") for pattern in denied["Resource"]]
    for route in AI:
        below = any(
            route.path == pattern or route.path.startswith(pattern.removesuffix("*"))
            for pattern in covered
        )
        assert below == route.signed, route.path
    callers = json.dumps(denied["Condition"]["StringNotLike"]["aws:PrincipalArn"])
    assert "role/santaclaude-prod-projectflow-api" in callers
    assert "role/santaclaude-prod-projectflow-stream" in callers
    assert callers.count(":role/") == 2


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


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_operational_routes_are_there(prod, path):
    assert ("GET", path) in methods(prod)
