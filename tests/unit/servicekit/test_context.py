"""Request ids and W3C traces."""

import pytest

from servicekit.context import choose_request_id, continue_trace

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("offered", ["a", "A-b_c.d:e=f", "x" * 128])
def test_a_valid_request_id_is_kept(offered):
    assert choose_request_id(offered, "gateway") == offered


@pytest.mark.parametrize("offered", [None, "", "a b", "é", "a\n", "x" * 129, '"'])
def test_else_the_gateways_is_taken_or_a_new_one(offered):
    assert choose_request_id(offered, "gateway") == "gateway"
    assert len(choose_request_id(offered, "not valid")) == 26


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        (PARENT, "01"),
        (PARENT[:-2] + "00", "00"),
        (PARENT[:-2] + "ff", "03"),
        ("01" + PARENT[2:] + "-what-comes-later", "01"),
        ("cc" + PARENT[2:], "01"),
    ],
)
def test_a_valid_trace_goes_on_in_a_span_of_its_own(header, flags):
    trace = continue_trace(header)
    assert trace.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert trace.span_id != "b7ad6b7169203331"
    assert trace.traceparent == f"00-{trace.trace_id}-{trace.span_id}-{flags}"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        PARENT.upper(),
        "ff" + PARENT[2:],
        PARENT + "-more",
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
        "01" + PARENT[2:] + "more",
    ],
)
def test_anything_else_starts_a_trace(header):
    trace = continue_trace(header)
    assert len(trace.trace_id) == 32
    assert trace.trace_id != "0af7651916cd43dd8448eb211c80319c"
    assert trace.flags == "03"
