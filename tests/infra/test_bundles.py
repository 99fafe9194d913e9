"""Bundles hold what they should, twice the same, for the platform that they run on."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import environment
import pytest

from bench.bundles import AI, SERVICES, Service
from infra import bundles
from infra.bundles import COMMON_LOCK, ROOT

AI_LOCK = "functions/ai/requirements.txt"
AUDIT_LOCK = "functions/audit/requirements.txt"
COLD_LOCK = "functions/audit/cold-requirements.txt"
# The Lambda runtime's own platform, and this machine's.
PLATFORMS = {"lambda": bundles.LAMBDA, "native": bundles.NATIVE}


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def source(platform=bundles.NATIVE):
    return AI.source(platform)


def test_code_is_packages_with_bytecode_twice_the_same(tmp_path):
    for name in ("one", "two"):
        source().build(tmp_path / name)
    first, second = (contents(tmp_path / name) for name in ("one", "two"))
    assert first == second
    assert "functions/__init__.py" in first
    assert "functions/ai/entrypoints/api.py" in first
    assert any(name.endswith(".pyc") for name in first)
    assert not any("openapi" in Path(name).parent.parts[1:2] for name in first)
    assert not any(name.endswith(("requirements.txt", ".md")) for name in first)
    script = tmp_path / "one" / "functions/ai/stream.sh"
    assert script.stat().st_mode & 0o111


def test_the_fingerprint_follows_content_and_platform(tmp_path, monkeypatch):
    before = source().fingerprint()
    assert before == source().fingerprint()
    assert source(bundles.LAMBDA).fingerprint() != before
    package = tmp_path / "functions" / "ai"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1\n")
    monkeypatch.setattr(bundles, "ROOT", tmp_path)
    bundle = bundles.SourceBundle(("functions/ai",), platform=bundles.NATIVE)
    first = bundle.fingerprint()
    (package / "__init__.py").write_text("x = 2\n")
    assert bundle.fingerprint() != first


@pytest.mark.parametrize(
    "bundle",
    [source(bundles.LAMBDA), bundles.DependencyBundle(AI_LOCK, platform=bundles.LAMBDA)],
    ids=["source", "dependencies"],
)
def test_a_bundle_without_bytecode_is_another(bundle, monkeypatch):
    """Or one that was built under another Python would be taken for the whole one."""
    fingerprints = set()
    for python in ("3.11", bundles.LAMBDA.python):
        monkeypatch.setattr(bundles, "_running_python", lambda python=python: python)
        fingerprints.add(bundle.fingerprint())
    assert len(fingerprints) == 2


def test_dependencies_leave_out_what_the_common_layer_ships():
    bundle = bundles.DependencyBundle(AI_LOCK, platform=bundles.NATIVE, provided=COMMON_LOCK)
    requirements = bundle.requirements()
    assert "fastapi==" in requirements
    assert "pydantic==" not in requirements
    assert "--hash=sha256:" in requirements


def test_a_failed_installation_says_why(tmp_path, monkeypatch):
    lock = tmp_path / "requirements.txt"
    lock.write_text("no-such-package-here==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    monkeypatch.setattr(bundles, "ROOT", tmp_path)
    bundle = bundles.DependencyBundle("requirements.txt", platform=bundles.NATIVE)
    with pytest.raises(bundles.BundlingError, match="no-such-package-here"):
        bundle.build(tmp_path / "out")


@pytest.fixture(scope="module", params=PLATFORMS)
def layers(request, tmp_path_factory):
    platform = PLATFORMS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    bundles.DependencyBundle(COMMON_LOCK, platform=platform).build(folder)
    bundles.DependencyBundle(AI_LOCK, platform=platform, provided=COMMON_LOCK).build(folder)
    return request.param, folder / "python"


def test_what_set_up_has_fetched_needs_no_network(tmp_path, monkeypatch):
    for scheme in ("HTTP", "HTTPS", "ALL"):
        monkeypatch.setenv(f"{scheme}_PROXY", "http://127.0.0.1:1")
    bundles.DependencyBundle(COMMON_LOCK, platform=bundles.LAMBDA).install(tmp_path)
    assert (tmp_path / "pydantic").is_dir()


def test_wheels_are_the_targets(layers):
    name, folder = layers
    (extension,) = (folder / "pydantic_core").glob("*.so")
    if name == "lambda":
        assert extension.name.endswith("cpython-313-aarch64-linux-gnu.so")
    models = {path.name for path in (folder / "botocore" / "data").iterdir() if path.is_dir()}
    assert {"dynamodb", "bedrock-runtime"} <= models
    assert "ec2" not in models
    assert not (folder / "bin").exists()


def start(service: Service, python: str, paths: list[Path]) -> None:
    """Import the service's functions with `python`, with nothing but `paths` in reach."""
    for module in service.entrypoints:
        code = (
            f"import sys; sys.path[:0] = {[str(path) for path in paths]!r}; "
            f"import functions.{service.name}.entrypoints.{module} as m; print(m.__file__)"
        )
        result = subprocess.run(
            [python, "-I", "-S", "-c", code],
            env=dict(service.environment),
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(str(paths[0]))


EVERY_SERVICE = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)


@EVERY_SERVICE
def test_every_entrypoint_is_started(service):
    folder = ROOT / "functions" / service.name / "entrypoints"
    found = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert set(service.entrypoints) == found


@EVERY_SERVICE
def test_functions_start_from_their_bundles_alone(service, tmp_path):
    """No package of this environment in reach: what is missing in a lock fails here."""
    folders = dict(service.build(tmp_path, bundles.NATIVE))
    code = folders.pop("code")
    start(service, sys.executable, [code, *(folder / "python" for folder in folders.values())])


def pythons() -> dict[str, str]:
    """Interpreters of this machine that the project runs on, one a version, this one included."""
    found = {"{}.{}".format(*sys.version_info[:2]): sys.executable}
    for python in environment._candidates():
        version = environment._version(Path(python))
        if version and version >= environment.OLDEST:
            found.setdefault("{}.{}".format(*version), python)
    return found


@EVERY_SERVICE
@pytest.mark.parametrize(("version", "python"), sorted(pythons().items()))
def test_functions_start_on_every_python_from_3_11_on(service, version, python, tmp_path):
    platform = bundles.Platform(python=version, uv_platform=None)
    paths = [ROOT, ROOT / "layers/common/python"]
    for number, lock in enumerate((COMMON_LOCK, *service.locks)):
        provided = None if lock == COMMON_LOCK else COMMON_LOCK
        folder = tmp_path / str(number)
        bundles.DependencyBundle(lock, platform=platform, provided=provided).build(folder)
        paths.append(folder / "python")
    start(service, python, paths)


@EVERY_SERVICE
def test_zipped_code_is_small(service, tmp_path):
    service.source(bundles.LAMBDA).build(tmp_path / "code")
    archive = tmp_path / "code.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in sorted((tmp_path / "code").rglob("*")):
            zipped.write(path, path.relative_to(tmp_path / "code"))
    assert archive.stat().st_size < 1_500_000


def test_the_largest_function_fits_into_lambda(tmp_path):
    """All layers of the function that holds DuckDB, unpacked: 250 MB are allowed.

    https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    """
    for lock in (COMMON_LOCK, AUDIT_LOCK, COLD_LOCK):
        provided = None if lock == COMMON_LOCK else COMMON_LOCK
        bundle = bundles.DependencyBundle(lock, platform=bundles.LAMBDA, provided=provided)
        bundle.build(tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert size < 150_000_000
    for service in ("athena", "firehose", "kms", "lambda", "s3", "secretsmanager", "sqs", "ssm"):
        assert (tmp_path / "python" / "botocore" / "data" / service).is_dir(), service
