"""AWS Lambda Web Adapter: runs a web server inside a function, which lets Python stream.

Published by AWS as a public layer: https://github.com/aws/aws-lambda-web-adapter (v1.1.0 is layer
version 30 in every region).
"""

_LAYER = "LambdaAdapterLayerArm64"
_LAYER_VERSION = 30
_COMMERCIAL_ACCOUNT = "753240598075"
# The China partition publishes from an account per region.
_CHINA_ACCOUNTS = {"cn-north-1": "041581134020", "cn-northwest-1": "069767869989"}

PORT = 8080
READINESS_PATH = "/_lwa/ready"


def layer_arn(region: str) -> str:
    """ARN of the arm64 layer; `region` may be a token (then a commercial region is meant)."""
    partition = "aws-cn" if region in _CHINA_ACCOUNTS else "aws"
    account = _CHINA_ACCOUNTS.get(region, _COMMERCIAL_ACCOUNT)
    return f"arn:{partition}:lambda:{region}:{account}:layer:{_LAYER}:{_LAYER_VERSION}"


def environment() -> dict[str, str]:
    """Variables that the adapter reads, not the application.

    The readiness check has a route of its own: with the default "/" an application that answers it
    with an error never becomes ready.
    """
    return {
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap",
        "AWS_LWA_INVOKE_MODE": "response_stream",
        "AWS_LWA_PORT": str(PORT),
        "AWS_LWA_READINESS_CHECK_PATH": READINESS_PATH,
        "AWS_LWA_READINESS_CHECK_HEALTHY_STATUS": "200",
        "AWS_LWA_READINESS_CHECK_TIMEOUT_SECONDS": "9",
    }
