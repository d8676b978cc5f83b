"""Edits that a model can carry out, and those that its card refuses."""

import pytest

from jobs.cards import Card
from jobs.errors import BadRequest, UnknownDirection, UnsupportedByModel
from jobs.fit import check
from jobs.fit_edits import check_lineage
from jobs.schemas import request_adapter
from tests.jobs.test_editing import BOX, EVERY, SEED, SMILE

CARD = Card.model_validate(
    {
        "name": "faces",
        "family": "stylegan2",
        "network": "stylegan2",
        "architecture": {"w_dim": 3},
        "resolution": 8,
        "z_dim": 4,
        "w_dim": 3,
        "num_ws": 6,
        "spaces": ["z", "w", "w+", "s", "p", "p+"],
        "style_size": 5,
        "layers": [{"name": "b4.conv1", "channels": 2}, {"name": "b8.conv0", "channels": 3}],
        "features": [{"name": "b8", "channels": 4, "height": 8, "width": 8}],
        "sha256": "0" * 64,
        "directions": [
            {"name": "smile", "space": "w"},
            {"name": "age", "space": "w+"},
            {"name": "in_z", "space": "z"},
            {
                "name": "flow",
                "type": "flow",
                "attributes": [{"name": "smile", "kind": "continuous", "range": [-1.0, 1.0]}],
            },
            {"name": "table", "type": "units", "layer": "b8", "units": 4, "parts": ["hair"]},
        ],
    }
)
FLAT = CARD.model_copy(
    update={"w_dim": 0, "num_ws": 0, "spaces": ("z",), "layers": (), "family": "dcgan", "truncation": "none"}
)
OF_THE_WORLD = CARD.model_copy(update={"training": {"world": "portraits"}})


def vector(space, *values):
    return {"op": "direction", "vector": {"space": space, "values": [list(values)]}}


def fits(*operations, card=CARD, output=None, **more):
    body = {
        "kind": "edit",
        "model": "faces",
        "input": {"source": {"seeds": [1, 2]}, "operations": operations} | more,
    }
    check(request_adapter.validate_python(body | {"output": output or {}}, strict=False), card)


@pytest.mark.parametrize(
    "operation",
    [
        *(EVERY[name] for name in ("direction", "attributes", "mix", "transfer", "average", "interpolate")),
        SMILE | {"mode": "coordinate", "layers": "0-5"},
        {"op": "units", "layer": "b8", "units": [0, 3], "mask": BOX},
        {"op": "units", "table": "table", "part": "hair", "count": 2, "action": "on"},
        {"op": "direction", "dimension": 3, "mode": "coordinate"},
        {"op": "direction", "channel": {"layer": "b8.conv0", "index": 2}},
        {"op": "direction", "features": {"layer": "b8", "values": [0.0, 1, 2, 3]}},
        vector("z", 0, 1, 2, 3),
        vector("p", 0, 1, 2),
        EVERY["region"] | {"blend": "styles"},
        EVERY["swap_layers"] | {"layers": "4-5"},
        EVERY["structure"],
    ],
)
def test_what_a_model_can_do_is_accepted(operation):
    fits(operation)


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (SMILE | {"name": "frown"}, UnknownDirection),
        (SMILE | {"name": "flow"}, UnknownDirection),
        (SMILE | {"keep": ["in_z"]}, UnsupportedByModel),
        (SMILE | {"layers": "6"}, BadRequest),
        ({"op": "direction", "dimension": 4}, BadRequest),
        ({"op": "direction", "dimension": 1, "layers": "0"}, UnsupportedByModel),
        ({"op": "direction", "channel": {"layer": "b8.conv0", "index": 3}}, BadRequest),
        ({"op": "direction", "channel": {"layer": "b8", "index": 0}}, UnsupportedByModel),
        ({"op": "direction", "features": {"layer": "b8", "values": [0.0]}}, BadRequest),
        ({"op": "direction", "features": {"layer": "b16", "values": [0.0]}}, UnsupportedByModel),
        (vector("w", 0, 1), BadRequest),
        ({"op": "direction", "vector": {"space": "z", "values": [[0, 1, 2, 3]] * 2}}, BadRequest),
        ({"op": "units", "layer": "b8", "units": [4]}, BadRequest),
        ({"op": "units", "layer": "b16", "units": [0]}, UnsupportedByModel),
        ({"op": "units", "table": "smile", "part": "hair", "count": 1}, UnknownDirection),
        ({"op": "units", "table": "table", "part": "nose", "count": 1}, BadRequest),
        ({"op": "units", "table": "table", "part": "hair", "count": 5}, BadRequest),
        (EVERY["attributes"] | {"set": {"age": 0.5}}, BadRequest),
        (EVERY["attributes"] | {"set": {"smile": 9.0}}, BadRequest),
        (EVERY["attributes"] | {"flow": "table"}, UnknownDirection),
        (EVERY["mix"] | {"with": {"seeds": [1, 2, 3]}}, BadRequest),
        (EVERY["mix"] | {"with": {"latents": {"space": "w", "values": [[1.0]]}}}, BadRequest),
        (EVERY["average"] | {"with": SEED}, BadRequest),
        (
            EVERY["interpolate"] | {"with": {"latents": {"space": "w", "values": [[1, 2, 3]]}}},
            UnsupportedByModel,
        ),
        (EVERY["region"] | {"operations": [SMILE | {"name": "frown"}]}, UnknownDirection),
        (EVERY["region"] | {"mask": {"parts": ["hair"]}}, UnsupportedByModel),
        (EVERY["structure"] | {"layers": "0-5"}, BadRequest),
    ],
)
def test_what_a_model_cannot_do_is_refused(operation, error):
    with pytest.raises(error, match=r"operations\[0\]|faces"):
        fits(operation)


def test_parts_are_found_where_the_world_is_known():
    fits(EVERY["region"] | {"mask": {"parts": ["left eye"]}}, card=OF_THE_WORLD)


def test_latents_go_one_way():
    channel = {"op": "direction", "channel": {"layer": "b8.conv0", "index": 2}}
    fits(vector("z", 0, 1, 2, 3), SMILE, vector("p", 0, 1, 2), channel, EVERY["mix"])
    for late, early in ((SMILE, EVERY["interpolate"]), (channel, SMILE), (SMILE, vector("z", 0, 1, 2, 3))):
        with pytest.raises(UnsupportedByModel, match="does not lead there"):
            fits(late, early)


def test_a_family_without_w_interpolates_in_z_and_touches_features():
    fits(EVERY["interpolate"] | {"mode": "linear"}, {"op": "units", "layer": "b8", "units": [1]}, card=FLAT)
    for name in ("mix", "transfer", "average", "swap_layers"):
        with pytest.raises((UnsupportedByModel, BadRequest)):
            fits(EVERY[name], card=FLAT)


def test_features_that_do_not_lie_where_pixels_are_have_no_masks():
    other = CARD.model_copy(update={"family": "stylegan3"})
    for operation in (EVERY["region"], {"op": "units", "layer": "b8", "units": [1], "mask": BOX}):
        with pytest.raises(UnsupportedByModel):
            fits(operation, card=other)


def test_a_region_has_no_single_latent_to_put_out():
    fits(SMILE, output={"latents": "w+"})
    with pytest.raises(BadRequest, match="region"):
        fits(EVERY["region"], output={"latents": "w+"})


def test_layers_are_exchanged_between_models_of_one_architecture():
    check_lineage(CARD, CARD.model_copy(update={"name": "other"}), "here")
    for change in ({"architecture": {"w_dim": 4}}, {"network": "stylegan3"}):
        with pytest.raises(UnsupportedByModel, match="architectures"):
            check_lineage(CARD, CARD.model_copy(update=change), "here")
