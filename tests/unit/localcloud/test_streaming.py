"""A deployed function's archive on disk."""

import io
import zipfile

import pytest

from localcloud import streaming
from localcloud.state import StateDirectory


def archive(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, (text, mode) in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100000 | mode) << 16
            opened.writestr(info, text)
    return buffer.getvalue()


class Functions:
    """As much of the Lambda API as is read."""

    def __init__(self, functions):
        self.all = functions

    @property
    def functions(self):
        return self

    def get_paginator(self, operation):
        assert operation == "list_functions"
        return self

    def paginate(self):
        return [{"Functions": [{"FunctionName": name} for name in self.all]}]

    def get_function(self, *, FunctionName, Qualifier=None):  # noqa: N803
        found = self.all[FunctionName]
        return found | {"Configuration": found["Configuration"] | {"Version": Qualifier}}

    def get_layer_version_by_arn(self, *, Arn):  # noqa: N803
        # The emulator knows the web adapter's layer by name only.
        return {"Content": {} if "Adapter" in Arn else {"Location": f"http://localhost/{Arn}?s"}}


@pytest.fixture
def aws():
    configuration = {
        "FunctionArn": "arn:stream",
        "Handler": "functions/ai/stream.sh",
        "Role": "arn:role",
        "Environment": {"Variables": {"TABLE_NAME": "t"}},
        "MemorySize": 884,
        "Timeout": 900,
        "Layers": [{"Arn": "layer-one"}, {"Arn": "Adapter"}],
    }
    return Functions(
        {
            "ai-stream": {
                "Configuration": configuration,
                "Code": {"Location": "http://localhost/code?s"},
                "Tags": {"santaclaude:delivery": "streamed", "santaclaude:service": "ai"},
            },
            "ai-api": {
                "Configuration": configuration,
                "Code": {"Location": "http://localhost/other?s"},
                "Tags": {"santaclaude:delivery": "buffered", "santaclaude:service": "ai"},
            },
        }
    )


@pytest.fixture
def content(monkeypatch):
    served = {
        "http://localhost/code?s": archive(
            {"functions/ai/stream.sh": ("run", 0o755), "functions/ai/a.py": ("a", 0o644)}
        ),
        "http://localhost/layer-one?s": archive({"python/pkg/x.py": ("x", 0o644)}),
    }
    monkeypatch.setattr(streaming, "_download", lambda _endpoint, location: served[location])
    return served


def test_streamed_functions_lie_on_disk_as_lambda_would_have_them(tmp_path, aws, content):
    (function,) = streaming.unpack(aws, StateDirectory(tmp_path), "http://cloud")
    assert (function.name, function.service, function.role) == ("ai-stream", "ai", "arn:role")
    assert function.environment == {"TABLE_NAME": "t"}
    program = function.code / function.handler
    assert program.read_text() == "run"
    assert program.stat().st_mode & 0o111
    assert not (function.code / "functions/ai/a.py").stat().st_mode & 0o111
    (layer,) = function.layers
    assert (layer / "python/pkg/x.py").read_text() == "x"


def test_the_same_content_is_unpacked_once_and_the_old_removed(tmp_path, aws, content):
    state = StateDirectory(tmp_path)
    (first,) = streaming.unpack(aws, state, "http://cloud")
    assert streaming.unpack(aws, state, "http://cloud") == [first]
    content["http://localhost/code?s"] = archive({"functions/ai/stream.sh": ("new", 0o755)})
    (second,) = streaming.unpack(aws, state, "http://cloud")
    assert second.code != first.code
    assert first.code.exists()
    streaming.prune(state, [second])
    assert not first.code.exists()
    assert second.code.exists()
    assert second.layers[0].exists()
