"""Provider keys: the secrets follow the file."""

import pytest
from botocore.exceptions import ClientError

from localcloud import seed


class Secrets:
    def __init__(self):
        self.values = {}

    def client(self, service):
        assert service == "secretsmanager"
        return self

    def get_secret_value(self, *, SecretId):  # noqa: N803
        if SecretId not in self.values:
            error = {"Error": {"Code": "ResourceNotFoundException"}}
            raise ClientError(error, "GetSecretValue")
        return {"SecretString": self.values[SecretId]}

    def create_secret(self, *, Name, SecretString):  # noqa: N803
        assert Name not in self.values
        self.values[Name] = SecretString

    def put_secret_value(self, *, SecretId, SecretString):  # noqa: N803
        assert SecretId in self.values
        self.values[SecretId] = SecretString

    def delete_secret(self, *, SecretId, ForceDeleteWithoutRecovery):  # noqa: N803
        assert ForceDeleteWithoutRecovery
        del self.values[SecretId]


@pytest.fixture
def file(tmp_path):
    return tmp_path / ".env"


def test_without_a_file_there_is_nothing_to_seed(file):
    aws = Secrets()
    assert seed.provider_keys(aws, env_file=file) == []
    assert aws.values == {}


def test_keys_are_made_changed_and_taken_away(file):
    aws = Secrets()
    file.write_text("OPENAI_API_KEY=one\nGEMINI_API_KEY=g\nANTHROPIC_API_KEY=\nOTHER=x\n")
    assert seed.provider_keys(aws, env_file=file) == ["openai", "gemini"]
    assert aws.values == {
        "santaclaude/local/providers/openai": "one",
        "santaclaude/local/providers/gemini": "g",
    }
    file.write_text("OPENAI_API_KEY=two\n")
    assert seed.provider_keys(aws, env_file=file) == ["openai"]
    assert aws.values == {"santaclaude/local/providers/openai": "two"}
