"""Images through the front door: kept in the deployed bucket, shown, gone with their session."""

import pytest

from tests.e2e.conftest import chat_request, eventually, problem
from tests.fakes.pictures import PNG, data_url


@pytest.fixture
def bucket(cloud) -> str:
    function = cloud.client("lambda").get_function_configuration(
        FunctionName="santaclaude-local-ai-api"
    )
    return function["Environment"]["Variables"]["CONTENT_BUCKET"]


def images_of(ai, session: dict) -> list[str]:
    messages = ai.get(f"/api/v1/sessions/{session['session_id']}").json()["messages"]
    return [image for message in messages for image in message["images"] or ()]


def shown(cloud) -> bytes:
    """The picture in the newest call of the model, as it was sent."""
    (image, *_) = cloud.bedrock.calls[-1].body["messages"][-1]["content"]
    assert image["image"]["format"] == "png"
    return image["image"]["source"]["bytes"]


def sent() -> str:
    return data_url().partition(",")[2]


def chat(ai, session: dict, **fields) -> None:
    request = chat_request(session, "[[text=A dot]]", stream=False, **fields)
    response = ai.post("/api/v1/chat", json=request)
    assert response.status_code == 200, response.text
    assert response.json()["message"]["content"] == "A dot"


def test_a_picture_is_kept_shown_and_gone_with_its_session(cloud, ai, session, bucket):
    chat(ai, session, images=[data_url()])
    assert shown(cloud) == sent()
    (reference,) = images_of(ai, session)
    prefix = f"projects/1/sessions/{session['session_id']}/"
    assert reference.startswith(f"s3://{bucket}/{prefix}images/")
    s3 = cloud.client("s3")
    key = reference.removeprefix(f"s3://{bucket}/")
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == PNG

    chat(ai, session, images=[reference])
    assert shown(cloud) == sent()
    assert images_of(ai, session) == [reference, reference]

    assert ai.delete(f"/api/v1/sessions/{session['session_id']}").status_code == 200
    assert s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["KeyCount"] == 0


def test_a_picture_is_shown_by_a_worker(cloud, ai, session):
    request = chat_request(session, "[[text=A dot]]", images=[data_url()])
    response = ai.post("/api/v1/jobs", json=request)
    assert response.status_code == 202, response.text
    path = f"/api/v1/jobs/{response.json()['job_id']}"
    eventually(lambda: ai.get(path).json()["status"] == "completed")
    assert shown(cloud) == sent()


def test_what_is_not_there_or_not_the_projects_is_refused(ai, session, bucket):
    references = (
        f"s3://{bucket}/projects/1/sessions/none/images/none.png",
        f"s3://{bucket}/projects/2/sessions/none/images/none.png",
        "s3://another-bucket/projects/1/sessions/none/images/none.png",
    )
    for reference in references:
        request = chat_request(session, "Look", stream=False, images=[reference])
        answer = problem(ai.post("/api/v1/chat", json=request), 422, "invalid_request")
        assert [error["field"] for error in answer["errors"]] == ["images.0"]
    assert images_of(ai, session) == []
