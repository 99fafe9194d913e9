"""Ollama, as the model behind the emulated Bedrock."""

import json
import urllib.request
from http.client import HTTPException

from localcloud.errors import LocalCloudError
from localcloud.settings import LocalSettings

_SECONDS = 1.0
_UP = "`make up MODEL=llama3.2`"


def models(settings: LocalSettings) -> list[str] | None:
    """Names of the models that Ollama holds and that chat; None when no Ollama answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    address = f"{str(settings.ollama_url).rstrip('/')}/api/tags"
    try:
        with opener.open(address, timeout=_SECONDS) as answer:
            listed = json.load(answer)["models"]
            # Those of BERT's family make embeddings only.
            return sorted(
                str(model["name"])
                for model in listed
                if "bert" not in str((model.get("details") or {}).get("family"))
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, HTTPException):
        return None


def require(settings: LocalSettings) -> None:
    """Raise LocalCloudError unless Ollama holds the model that was asked for."""
    if settings.model is None:
        return
    held = models(settings)
    if held is None:
        raise LocalCloudError(
            f"No Ollama answers at {settings.ollama_url}, and {settings.model} was asked for.",
            "Start it, set LOCAL_OLLAMA_URL, or leave MODEL out.",
        )
    if not {settings.model, f"{settings.model}:latest"} & set(held):
        raise LocalCloudError(
            f"Ollama holds no model {settings.model}; it holds {', '.join(held) or 'none'}.",
            f"Run `ollama pull {settings.model}` or choose one of those.",
        )


def describe(settings: LocalSettings, cloud_name: str) -> str:
    """One line on who answers behind Bedrock, and what could."""
    if settings.bedrock_endpoint_url:
        return f"Answers come from {settings.bedrock_endpoint_url} as Bedrock."
    if cloud_name != "ministack":
        return f"Answers come from {cloud_name}'s Bedrock."
    if settings.model:
        return f"Answers come from Ollama's {settings.model}, behind MiniStack's Bedrock."
    text = "Answers are MiniStack's fixed text: no model runs behind its Bedrock."
    held = models(settings)
    if held:
        return f"{text} Ollama holds {', '.join(held)}: `make up MODEL={held[0]}` uses that one."
    if held is not None:
        return f"{text} Ollama runs here without a model: `ollama pull llama3.2`, then {_UP}."
    return f"{text} With Ollama (https://ollama.com) and its llama3.2 here, {_UP} uses that."
