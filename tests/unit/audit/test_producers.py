"""Who may count as whom."""

import pytest

from functions.audit.domain.producers import may_count, owner_of

AI = "arn:aws:sts::000000000000:assumed-role/santaclaude-local-ai-audit"
OPERATOR = "arn:aws:sts::000000000000:assumed-role/local-operator"


@pytest.mark.parametrize(
    ("reported_by", "owner"),
    [
        (AI, "ai"),
        ("arn:aws-cn:sts::1:assumed-role/santaclaude-prod-projectflow-api-v2", "projectflow"),
        ("arn:aws:iam::1:role/santaclaude-local-ai-audit", "ai"),
        ("arn:aws:iam::1:role/some/path/santaclaude-local-ai-audit", "ai"),
        (OPERATOR, "local-operator"),
        ("arn:aws:sts::1:assumed-role/santaclaude-local-ai", "santaclaude-local-ai"),
        ("arn:aws:sts::1:assumed-role/santaclaude-local--ai", "santaclaude-local--ai"),
        ("arn:aws:sts::1:assumed-role/my-santaclaude-local-ai-x", "my-santaclaude-local-ai-x"),
        ("events:santaclaude.ai", "santaclaude.ai"),
        ("arn:aws:iam::1:user/santaclaude-local-ai-audit", None),
        ("arn:aws:iam::1:root", None),
        ("ai", None),
        ("", None),
    ],
)
def test_the_owner_of_a_reporters_producers(reported_by, owner):
    assert owner_of(reported_by) == owner


@pytest.mark.parametrize(
    ("producer", "reported_by", "allowed"),
    [
        ("ai:00", AI, True),
        ("ai", AI, True),
        ("ai:00:x", AI, True),
        ("ai2:00", AI, False),
        ("aix", AI, False),
        ("projectflow:00", AI, False),
        ("AI:00", AI, False),
        (None, AI, False),
        ("ai:00", OPERATOR, False),
        ("local-operator:x", OPERATOR, True),
        ("santaclaude.ai:00", "events:santaclaude.ai", True),
        ("ai:00", "events:santaclaude.ai", False),
        ("ai:00", "events:ai:00", False),
        (":00", "", False),
        (None, "", False),
    ],
)
def test_a_producer_is_its_reporters(producer, reported_by, allowed):
    assert may_count(producer, reported_by) is allowed
