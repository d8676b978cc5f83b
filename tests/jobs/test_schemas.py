"""Requests: strict, complete, and the same after a trip through a row."""

import json

import pytest
from pydantic import ValidationError

from jobs.schemas import Status, request_adapter, submit_adapter
from jobs.sources import parse_layers, parse_seeds
from jobs.words import MAX_IMAGES

IMAGE = "img_" + "0" * 64
JOB = "job_" + "0" * 26
EDIT = {"source": {"seeds": [1]}, "operations": [{"op": "direction", "name": "smile"}]}


def parse(kind="generate", input=None, **given):
    body = {"kind": kind, "model": "portraits", "input": input or {}} | given
    return submit_adapter.validate_json(json.dumps(body))


@pytest.mark.parametrize(
    "text, seeds",
    [("0", (0,)), ("0-3", (0, 1, 2, 3)), ("5,1-2", (5, 1, 2)), ("7-7", (7,)), ("4294967295", (4294967295,))],
)
def test_seeds_are_written_as_ranges(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text",
    ["", "-", "1-", "-1", "3-1", "1,,2", "a", "1.5", " 1", "٣", "0-1024", "4294967296", "0-99999999999"],
)
def test_seeds_that_mean_nothing_are_refused(text):
    with pytest.raises(ValueError):
        parse_seeds(text)


def test_as_many_seeds_as_pictures_are_allowed():
    assert len(parse_seeds(f"0-{MAX_IMAGES - 1}")) == MAX_IMAGES


@pytest.mark.parametrize("text, layers", [("0", (0,)), ("4-6,0", (0, 4, 5, 6)), ("1-2,2-3", (1, 2, 3))])
def test_layers_are_written_as_ranges(text, layers):
    assert parse_layers(text) == layers


@pytest.mark.parametrize(
    "kind, given",
    [
        ("generate", {}),
        ("generate", {"source": {"seeds": "0-15"}, "class": 3, "mixing": None}),
        ("generate", {"mixing": {"rows": [1], "columns": [2, 3], "layers": "0-3"}}),
        ("invert", {"images": [IMAGE], "stop": {"perceptual": 0.05}, "losses": {"pixel": 1}}),
        ("edit", EDIT | {"sweep": {"strengths": [-3, 0, 3]}}),
        ("evaluate", {}),
        ("evaluate", {"metrics": ["ppl"], "path": {"space": "z", "sampling": "end"}, "class": 1}),
        ("evaluate", {"reference": {"images": [f"img_{i:064x}" for i in range(16)]}}),
        ("evaluate", {"metrics": ["identity"], "edits": [{"name": "smile", "strength": -2}]}),
    ],
)
def test_a_request_is_the_same_after_a_trip_through_a_row(kind, given):
    asked = parse(kind, given)

    assert request_adapter.validate_json(asked.model_dump_json(by_alias=True)) == asked


@pytest.mark.parametrize(
    "change",
    [
        {"unknown": 1},
        {"status": "succeeded"},
        {"tenant": "other"},
        {"kind": "import"},
        {"kind": "dream"},
        {"model": "../etc"},
        {"model": "x" * 65},
        {"priority": "urgent"},
        {"deadline_s": 0},
        {"deadline_s": "60"},
        {"timeout_s": 1e9},
        {"metadata": {"a b": "x"}},
        {"metadata": {"a": 1}},
        {"metadata": {"a": "x\u202e"}},
        {"metadata": {str(i): "" for i in range(17)}},
        {"output": {"format": "bmp"}},
        {"output": {"size": 8}},
        {"input": {"psi": True}},
        {"input": {"psi": "0.7"}},
        {"input": {"psi": 1e308}},
        {"input": {"source": {"seeds": [-1]}}},
        {"input": {"source": {"seeds": [1.5]}}},
        {"input": {"source": {"seeds": []}}},
        {"input": {"source": {"seeds": [1], "images": [IMAGE]}}},
        {"input": {"source": {}}},
        {"input": {"source": {"images": [IMAGE]}}},
        {"input": {"source": {"latents": {"space": "w", "values": [[0]], "base64": "AAAA"}}}},
        {"input": {"source": {"latents": {"space": "w", "base64": "AAAA"}}}},
        {"input": {"source": {"latents": {"space": "x", "values": [[0]]}}}},
        {"input": {"interpolate": {}, "mixing": {"rows": [1], "columns": [1], "layers": "0"}}},
    ],
)
def test_what_is_not_in_the_contract_is_refused(change):
    with pytest.raises(ValidationError):
        parse(**change)


@pytest.mark.parametrize(
    "kind, given",
    [
        ("invert", {"images": []}),
        ("invert", {"images": [IMAGE] * 17}),
        ("invert", {"images": ["img_x"]}),
        ("invert", {"images": [IMAGE], "losses": {"pixel": 0, "perceptual": 0}}),
        ("edit", EDIT | {"operations": []}),
        ("edit", EDIT | {"sweep": {"operation": 1, "strengths": [1]}}),
        ("edit", EDIT | {"operations": [{"op": "magic", "name": "smile"}]}),
        ("evaluate", {"metrics": []}),
        ("evaluate", {"metrics": ["fid", "psnr"]}),
        ("evaluate", {"count": 15}),
        ("evaluate", {"count": 50_001}),
        ("evaluate", {"seed": 2**32 - 1}),  # no room for as many seeds
        ("evaluate", {"reference": "ffhq"}),
        ("evaluate", {"reference": {}}),
        ("evaluate", {"reference": {"images": [IMAGE] * 16}}),  # one picture, sixteen times
        ("evaluate", {"reference": {"images": [IMAGE], "job": JOB}}),
        ("evaluate", {"path": {"space": "s"}}),
        ("evaluate", {"edits": [{"name": "smile"}]}),  # without the metric that they are for
    ],
)
def test_inputs_that_cannot_be_are_refused(kind, given):
    with pytest.raises(ValidationError):
        parse(kind, given)


def test_text_is_stored_composed():
    assert parse(metadata={"name": "e\u0301"}).metadata == {"name": "\u00e9"}


def test_every_status_but_two_is_terminal():
    assert {status for status in Status if not status.terminal} == {Status.QUEUED, Status.RUNNING}
