"""The deployed templates of the app's stacks."""

import json
from collections.abc import Iterator
from typing import Any

from localcloud.aws import Aws

# The app's; the CDK's own is YAML.
_STACKS = "santaclaude-"


def deployed(aws: Aws) -> Iterator[tuple[str, Any]]:
    """Name and template of each stack."""
    for page in aws.cloudformation.get_paginator("describe_stacks").paginate():
        for stack in page["Stacks"]:
            name = stack["StackName"]
            if name.startswith(_STACKS):
                body: Any = aws.cloudformation.get_template(StackName=name)["TemplateBody"]
                yield name, json.loads(body) if isinstance(body, str) else body
