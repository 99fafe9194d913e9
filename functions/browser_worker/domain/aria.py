"""References of an accessibility snapshot as selectors that another browser understands too."""

from __future__ import annotations

import json
import re
from collections import Counter

REF_PREFIX = "aria-ref="

# `- button "Save" [disabled] [ref=e12] [cursor=pointer]:`
_LINE = re.compile(
    r"^\s*- '?(?P<role>[a-z]+)(?: (?P<name>\"(?:[^\"\\]|\\.)*\"))?(?P<rest>[^\n]*)$", re.MULTILINE
)
_REF = re.compile(r"\[ref=(e\d+)\]")
# What has no role that one could ask for, or so many that their number says nothing.
_NAMELESS = frozenset({"generic", "text", "none", "presentation"})


def selectors_of(snapshot: str) -> dict[str, str]:
    """A selector for each reference of the snapshot: by role, name and place among its like.

    Elements of frames have none.
    """
    found: dict[str, str] = {}
    places: Counter[tuple[str, str | None]] = Counter()
    for line in _LINE.finditer(snapshot):
        role, quoted = line["role"], line["name"]
        ref = _REF.search(line["rest"])
        if ref is None or role in _NAMELESS:
            continue
        name = _name(quoted)
        key = (role, name)
        # Without a name, its place among all of its role: names narrow that down.
        place = places[key] if name is not None else _of_role(places, role)
        places[key] += 1
        named = f"[name={json.dumps(name, ensure_ascii=False)}s]" if name is not None else ""
        found[ref[1]] = f"internal:role={role}{named} >> nth={place}"
    return found


def _name(quoted: str | None) -> str | None:
    if quoted is None:
        return None
    try:
        name = json.loads(quoted)
    except ValueError:
        return None
    return name if isinstance(name, str) else None


def _of_role(places: Counter[tuple[str, str | None]], role: str) -> int:
    return sum(count for (other, _), count in places.items() if other == role)
