"""Ollama, as the model behind the emulated Bedrock."""

import json
import urllib.request

from localcloud.errors import LocalCloudError
from localcloud.settings import LocalSettings

_SECONDS = 1.0


def models(settings: LocalSettings) -> list[str] | None:
    """Names of the models that Ollama holds; None when no Ollama answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    address = f"{str(settings.ollama_url).rstrip('/')}/api/tags"
    try:
        with opener.open(address, timeout=_SECONDS) as answer:
            listed = json.load(answer)["models"]
            return sorted(str(model["name"]) for model in listed)
    except (OSError, ValueError, KeyError, TypeError):
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


def describe(settings: LocalSettings) -> str:
    """One line on who answers behind Bedrock, and what could."""
    if settings.bedrock_endpoint_url:
        return f"Bedrock: {settings.bedrock_endpoint_url}"
    if settings.model:
        return f"Bedrock: Ollama's {settings.model}"
    held = models(settings)
    text = "Bedrock: MiniStack's fixed text, not a model's answers."
    if held:
        return f"{text} Ollama holds {', '.join(held)}: `make up MODEL={held[0]}` uses it."
    return f"{text} With Ollama running here, `make up MODEL=<name>` uses one of its models."
