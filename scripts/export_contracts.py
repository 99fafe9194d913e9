"""Write the committed documents of the contracts, or say which of them are stale.

python scripts/export_contracts.py             write them
python scripts/export_contracts.py --check     exit code 1 and the names of those that differ
python scripts/export_contracts.py --release   write them, and make them the released contract;
                                               refused if that would break its callers
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from contracts.ai.operations import AI_V1  # noqa: E402
from contracts.audit.operations import AUDIT_V1  # noqa: E402
from contracts.browser.operations import BROWSER_V1  # noqa: E402
from contracts.messaging.operations import MESSAGING_V1  # noqa: E402
from contracts.messaging.registry import EVENT_TYPES  # noqa: E402
from scripts.contract_tools.asyncapi import asyncapi  # noqa: E402
from scripts.contract_tools.compatibility import (  # noqa: E402
    breaking_changes,
    breaking_event_changes,
)
from scripts.contract_tools.openapi import as_text, json_schemas, openapi  # noqa: E402

CONTRACTS = (AI_V1, AUDIT_V1, BROWSER_V1, MESSAGING_V1)
# Everything in these belongs to this script: a file that it would not write is stale.
GENERATED = ("openapi", "schemas", "events", "asyncapi")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the result is the process's exit code."""
    parser = argparse.ArgumentParser(description="Write the contracts' documents.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="write nothing; 1 if a document differs")
    mode.add_argument("--release", action="store_true", help="also replace the released contract")
    parser.add_argument("--directory", type=Path, default=ROOT / "contracts")
    options = parser.parse_args(arguments)
    if options.check:
        return check(options.directory)
    if options.release and not release(options.directory):
        return 1
    write(options.directory)
    return 0


def documents() -> dict[str, str]:
    """The text of each generated file, by its path below `contracts/`."""
    files: dict[str, str] = {}
    for contract in CONTRACTS:
        files[f"openapi/{contract.service}.{contract.version}.json"] = as_text(openapi(contract))
        for name, schema in json_schemas(contract).items():
            files[f"schemas/{contract.service}/{contract.version}/{name}.json"] = as_text(schema)
    for event in EVENT_TYPES.values():
        folder = f"events/{event.name}"
        files[f"{folder}/v1.schema.json"] = as_text(event.schema())
        files[f"{folder}/v1.example.json"] = as_text(event.example)
    files["asyncapi/messaging.v1.json"] = as_text(asyncapi(EVENT_TYPES))
    return files


def stale(directory: Path) -> list[str]:
    """Paths of the files that are missing, differ, or should not be there."""
    wanted = documents()
    found = {
        path.relative_to(directory).as_posix(): path.read_text(encoding="utf-8")
        for part in GENERATED
        for path in (directory / part).rglob("*.json")
    }
    return sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )


def check(directory: Path) -> int:
    """Print what is stale."""
    names = stale(directory)
    for name in names:
        print(f"differs: contracts/{name}")
    if names:
        print("Run: python scripts/export_contracts.py")
    return 1 if names else 0


def write(directory: Path) -> None:
    """Bring every generated file up to date."""
    wanted = documents()
    for name in stale(directory):
        path = directory / name
        if name in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[name], encoding="utf-8")
        else:
            path.unlink()
        print(f"written: contracts/{name}" if name in wanted else f"removed: contracts/{name}")


def release(directory: Path) -> bool:
    """Replace the released contracts; False, with the reasons printed, if callers would break."""
    breaking = False
    for contract in CONTRACTS:
        path = directory / "released" / f"{contract.service}.{contract.version}.json"
        document = openapi(contract)
        if path.exists():
            for change in breaking_changes(json.loads(path.read_text("utf-8")), document):
                breaking = True
                print(f"breaking: {change}")
        if not breaking:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(as_text(document), encoding="utf-8")
    return release_events(directory) and not breaking


def release_events(directory: Path) -> bool:
    """The same for events. What is released of one are its schema and every example so far."""
    reasons = []
    released = directory / "released" / "events"
    for path in sorted(released.glob("*/v1.schema.json")):
        name = path.parent.name
        known = EVENT_TYPES.get(name)
        before = json.loads(path.read_text("utf-8"))
        changes = breaking_event_changes(before, known.schema()) if known else ["lost"]
        reasons += [f"{name} {change}" for change in changes]
    for reason in reasons:
        print(f"breaking: {reason}")
    if reasons:
        return False
    for event in EVENT_TYPES.values():
        folder = released / event.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "v1.schema.json").write_text(as_text(event.schema()), encoding="utf-8")
        examples = {path.read_text("utf-8") for path in folder.glob("v1.example*.json")}
        text = as_text(event.example)
        if text not in examples:
            path = folder / f"v1.example-{len(examples) + 1}.json"
            path.write_text(text, encoding="utf-8")
    return True


if __name__ == "__main__":
    sys.exit(main())
