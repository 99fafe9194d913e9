"""How the CDK stages a bundle: built by uv on this machine, never in Docker."""

from pathlib import Path
from typing import cast

import jsii
from aws_cdk import AssetHashType, BundlingOptions, DockerImage, ILocalBundling
from aws_cdk import aws_lambda as lambda_

from infra.bundles import Bundle


@jsii.implements(ILocalBundling)
class _UvBundling:
    """CDK's hook for building outside Docker. It never returns False, which would mean Docker."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    @jsii.member(jsii_name="tryBundle")
    def try_bundle(self, output_dir: str, _options: object) -> bool:
        """Build the bundle into CDK's staging folder."""
        self._bundle.build(Path(output_dir))
        return True


def code(bundle: Bundle) -> lambda_.AssetCode:
    """The bundle as code of a function or a layer; built when CDK does not have it already."""
    return lambda_.Code.from_asset(
        str(bundle.source),
        asset_hash=bundle.fingerprint(),
        asset_hash_type=AssetHashType.CUSTOM,
        bundling=BundlingOptions(
            image=DockerImage.from_registry("unused"),
            local=cast("ILocalBundling", _UvBundling(bundle)),
        ),
    )
