"""JSON objects that a model or its server wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from functions.ai.adapters.wellformed import wellformed


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


# Python's reader takes NaN and Infinity, which JSON does not have.
_JSON = json.JSONDecoder(parse_constant=_refuse)


def json_object(text: str) -> Mapping[str, Any] | None:
    """The object that the text is; None where it is none. Its texts are wellformed."""
    try:
        parsed = _JSON.decode(text)
        # Only an escape can bring half a surrogate pair, which no store takes.
        if "\\u" in text:
            spelt = json.dumps(parsed, ensure_ascii=False)
            if (sound := wellformed(spelt)) is not spelt:
                parsed = _JSON.decode(sound)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
