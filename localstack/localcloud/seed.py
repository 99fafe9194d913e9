"""Keys of model providers, from `.env` into the local Secrets Manager."""

from pathlib import Path

from botocore.exceptions import ClientError
from dotenv import dotenv_values

from localcloud.aws import Aws
from localcloud.settings import ROOT

PROVIDER_KEYS = {
    "OPENAI_API_KEY": "openai",
    "ANTHROPIC_API_KEY": "anthropic",
    "GEMINI_API_KEY": "gemini",
}


def provider_keys(aws: Aws, *, env_file: Path = ROOT / ".env") -> list[str]:
    """Make the secrets equal to the file, also where a key was taken out of it.

    Returns the names of the providers that have a key.
    """
    secrets = aws.client("secretsmanager")
    values = dotenv_values(env_file)
    seeded = []
    for variable, provider in PROVIDER_KEYS.items():
        name = f"santaclaude/local/providers/{provider}"
        try:
            stored = secrets.get_secret_value(SecretId=name)["SecretString"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            stored = None
        value = values.get(variable) or None
        if value:
            seeded.append(provider)
        if value == stored:
            continue
        if value is None:
            secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
        elif stored is None:
            secrets.create_secret(Name=name, SecretString=value)
        else:
            secrets.put_secret_value(SecretId=name, SecretString=value)
    return seeded
