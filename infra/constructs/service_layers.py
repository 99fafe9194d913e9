"""The layers of a service's functions: servicekit, its dependencies, the service's own."""

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.bundles import COMMON_LOCK, Bundle, DependencyBundle, Platform, SourceBundle
from infra.bundling import code


def service_layers(
    scope: Construct, *, lock: str, platform: Platform
) -> list[lambda_.LayerVersion]:
    """Layer versions of this stack's own, so that it deploys and rolls back alone.

    The assets behind the first two are the same in every stack and uploaded once.
    """
    bundles: dict[str, Bundle] = {
        "Servicekit": SourceBundle(
            ("layers/common/python/servicekit",), platform=platform, base="layers/common"
        ),
        "CommonDependencies": DependencyBundle(COMMON_LOCK, platform=platform),
        "Dependencies": DependencyBundle(lock, platform=platform, provided=COMMON_LOCK),
    }
    return [
        lambda_.LayerVersion(scope, f"{construct_id}Layer", code=code(bundle))
        for construct_id, bundle in bundles.items()
    ]
