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
    }
    return [
        *(
            lambda_.LayerVersion(scope, f"{construct_id}Layer", code=code(bundle))
            for construct_id, bundle in bundles.items()
        ),
        dependency_layer(scope, "Dependencies", lock=lock, platform=platform),
    ]


def dependency_layer(
    scope: Construct, construct_id: str, *, lock: str, platform: Platform
) -> lambda_.LayerVersion:
    """A layer of the packages of one lock file that the common layer does not ship already."""
    bundle = DependencyBundle(lock, platform=platform, provided=COMMON_LOCK)
    return lambda_.LayerVersion(scope, f"{construct_id}Layer", code=code(bundle))
