"""Models by their cards, and what a request must have in common with one."""

import base64
import json
import struct

import pytest

from jobs.cards import Card, Layer
from jobs.catalog import Catalog
from jobs.errors import (
    BadRequest,
    Conflict,
    LimitExceeded,
    UnknownDirection,
    UnknownModel,
    UnsupportedByModel,
)
from jobs.fit import check
from jobs.schemas import request_adapter
from jobs.store import DirectionSetRow, ModelRow
from tests.jobs.given import TENANT

CARD = {
    "name": "tiny",
    "family": "stylegan2",
    "resolution": 16,
    "z_dim": 4,
    "w_dim": 3,
    "num_ws": 2,
    "classes": 0,
    "spaces": ["z", "w", "w+"],
    "style_size": 5,
    "sha256": "a" * 64,
    "licence": "Apache-2.0",
}
DIRECTIONS = {
    "set": "sefa",
    "method": "sefa",
    "directions": [
        {"name": "sefa_0", "space": "w", "layers": None, "unit": "sigma", "range": [-3, 3]},
        {"name": "in_z", "space": "z", "layers": None, "unit": "raw"},
    ],
}


def put(folder, name="tiny", **changes):
    """A model folder, as far as the catalog looks at it."""
    (folder / name / "directions").mkdir(parents=True, exist_ok=True)
    (folder / name / "card.json").write_text(json.dumps(CARD | {"name": name} | changes))
    (folder / name / "directions" / "sefa.json").write_text(json.dumps(DIRECTIONS))


@pytest.fixture
def catalog(store, tmp_path):
    put(tmp_path / "models")
    return Catalog(tmp_path / "models", store)


def request(kind="generate", output=None, **given):
    return request_adapter.validate_json(
        json.dumps({"kind": kind, "model": "tiny", "input": given, "output": output or {}})
    )


def test_a_model_of_the_repository_is_found_with_all_that_its_card_says(catalog):
    card = catalog.get(TENANT, "tiny")

    assert (card.resolution, card.num_ws) == (16, 2)
    assert card.model_dump()["licence"] == "Apache-2.0"
    assert card.direction("sefa_0").unit == "sigma" and card.direction("sefa_0").set == "sefa"


def test_imported_models_belong_to_their_tenant(catalog, store):
    store.put_model(TENANT, ModelRow("faces", "b" * 64, "p/", CARD | {"name": "faces"}))

    assert [card.name for card in catalog.list(TENANT)] == ["faces", "tiny"]
    assert [card.name for card in catalog.list("other")] == ["tiny"]
    with pytest.raises(UnknownModel):
        catalog.get("other", "faces")


def test_the_repository_comes_first(catalog, store):
    store.put_model(TENANT, ModelRow("tiny", "b" * 64, "p/", CARD | {"sha256": "b" * 64}))

    assert catalog.get(TENANT, "tiny").sha256 == "a" * 64
    assert len(catalog.list(TENANT)) == 1


def test_an_unknown_model_is_refused_with_a_hint(catalog):
    with pytest.raises(UnknownModel, match=r"no model 'tinny'. Did you mean 'tiny'\?"):
        catalog.get(TENANT, "tinny")


@pytest.mark.parametrize("name", ["", "..", "../models/tiny", "tiny/", "/etc", "TINY", "tiny\x00", "x" * 100])
def test_names_cannot_lead_elsewhere(catalog, name):
    with pytest.raises(UnknownModel):
        catalog.get(TENANT, name)


def test_a_model_that_changes_on_disk_is_read_again(catalog, tmp_path):
    catalog.get(TENANT, "tiny")
    put(tmp_path / "models", sha256="c" * 64)
    folder = tmp_path / "models" / "tiny"
    (folder / "card.json").touch()

    assert catalog.get(TENANT, "tiny").sha256 == "c" * 64


def test_a_card_that_is_not_right_leaves_the_other_models_usable(catalog, tmp_path, caplog):
    broken = tmp_path / "models" / "broken"
    broken.mkdir()
    (broken / "card.json").write_text('{"name": "broken"}')

    assert [card.name for card in catalog.list(TENANT)] == ["tiny"]
    with pytest.raises(UnknownModel):
        catalog.get(TENANT, "broken")
    assert "broken" in caplog.text and catalog.ships("broken")  # an import cannot take its name


# --- what fits -------------------------------------------------------------------------------------------

IMAGES = ["img_" + "0" * 64]


@pytest.fixture
def card():
    return Card.model_validate(CARD | {"directions": DIRECTIONS["directions"]})


EDIT = {"operations": [{"op": "direction", "name": "sefa_0"}]}


def packed(*numbers):
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def latents(space, values):
    return {"latents": {"space": space, "values": values}}


@pytest.mark.parametrize(
    "kind, given",
    [
        ("generate", {}),
        ("generate", {"source": latents("z", [[0, 1, 2, 3.5]])}),
        ("generate", {"source": latents("w", [[0, 1, 2]] * 3)}),
        ("generate", {"source": latents("w+", [[[0, 1, 2], [3, 4, 5]]])}),
        ("generate", {"source": {"latents": {"space": "w", "base64": packed(1, 2, 3), "shape": [1, 3]}}}),
        ("generate", {"source": {"seeds": "0-3"}, "interpolate": {"frames": 10}}),
        ("generate", {"cutoff": 2, "mixing": {"rows": [1], "columns": [2], "layers": "0-1"}}),
        ("invert", {"images": IMAGES}),
        ("edit", {"source": {"seeds": [1]}} | EDIT),
        ("edit", {"source": {"images": IMAGES}} | EDIT),
        ("edit", {"source": {"seeds": [1]}, "operations": [{"op": "direction", "name": "in_z"}]}),
    ],
)
def test_what_the_model_can_do_is_accepted(card, kind, given):
    check(request(kind, **given), card)


@pytest.mark.parametrize(
    "error, given",
    [
        (UnsupportedByModel, {"source": latents("s", [[0] * 5])}),  # the card lists no S
        (BadRequest, {"source": latents("w", [[0, 1]])}),
        (BadRequest, {"source": latents("w", [])}),
        (BadRequest, {"source": latents("w", [0, 1, 2])}),
        (BadRequest, {"source": latents("w", [[0, 1, 2], [0, 1]])}),
        (BadRequest, {"source": latents("w", [[0, 1, "2"]])}),
        (BadRequest, {"source": latents("w", [[0, 1, True]])}),
        (BadRequest, {"source": latents("w", [[0, 1, None]])}),
        (BadRequest, {"source": latents("w", [[0, 1, 1e39]])}),
        (BadRequest, {"source": latents("w", [[0, 1, 10**400]])}),
        (BadRequest, {"source": {"latents": {"space": "w", "base64": packed(1, 2), "shape": [1, 3]}}}),
        (BadRequest, {"source": {"latents": {"space": "w", "base64": "a", "shape": [1, 3]}}}),
        (BadRequest, {"source": {"latents": {"space": "w", "base64": packed(1, 2, 3), "shape": [-1, 3]}}}),
        (BadRequest, {"source": {"latents": {"space": "w", "base64": packed(1, 2, 3), "shape": []}}}),
        (
            BadRequest,
            {"source": {"latents": {"space": "w", "base64": packed(1, 2, float("nan")), "shape": [1, 3]}}},
        ),
        (BadRequest, {"cutoff": 3}),
        (UnsupportedByModel, {"class": 0}),
        (BadRequest, {"mixing": {"rows": [1], "columns": [2], "layers": "1-2"}}),
        (BadRequest, {"mixing": {"rows": [1], "columns": [2], "layers": "1-0"}}),
        (BadRequest, {"source": {"seeds": [1]}, "interpolate": {"frames": 10}}),
        (LimitExceeded, {"source": latents("w", [[0, 1, 2]] * 1025)}),
    ],
)
def test_what_the_model_cannot_do_is_refused(card, error, given):
    with pytest.raises(error) as refused:
        check(request(**given), card)
    assert type(refused.value) is error


@pytest.mark.parametrize(
    "error, given",
    [
        (UnknownDirection, {"operations": [{"op": "direction", "name": "smile"}]}),
        (BadRequest, {"operations": [{"op": "direction", "name": "sefa_0", "layers": "0-2"}]}),
        (UnsupportedByModel, {"operations": [{"op": "direction", "name": n} for n in ("sefa_0", "in_z")]}),
        (LimitExceeded, {"source": {"seeds": "0-99"}, "sweep": {"strengths": [i for i in range(33)]}}),
    ],
)
def test_an_edit_that_the_model_cannot_do_is_refused(card, error, given):
    with pytest.raises(error):
        check(request("edit", **({"source": {"seeds": [1]}} | EDIT | given)), card)


@pytest.fixture
def of_the_world(card):
    return card.model_copy(update={"training": {"world": "portraits"}})


def test_a_model_of_the_world_can_be_evaluated_on_it(of_the_world):
    check(request("evaluate", metrics=["fid", "kid", "pr", "ppl", "factors", "identity"]), of_the_world)


@pytest.mark.parametrize(
    "error, step",
    [
        (UnknownDirection, {"name": "smile"}),
        (UnsupportedByModel, {"name": "in_z"}),
        (BadRequest, {"name": "sefa_0", "layers": "0-2"}),
    ],
)
def test_people_are_followed_along_directions_that_the_model_has_in_w(of_the_world, error, step):
    check(request("evaluate", metrics=["identity"], edits=[{"name": "sefa_0"}]), of_the_world)
    with pytest.raises(error):
        check(request("evaluate", metrics=["identity"], edits=[step]), of_the_world)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"metrics": ["ppl", "fid"]},
        {"reference": {"job": "job_" + "0" * 26}},  # the default metrics read factors
        {"reference": {"job": "job_" + "0" * 26}, "metrics": ["identity"]},
    ],
)
def test_another_model_is_not_evaluated_on_the_world_or_its_factors(card, given):
    with pytest.raises(UnsupportedByModel):
        check(request("evaluate", **given), card)


def test_any_model_can_be_evaluated_on_pictures(card):
    pictures = {"job": "job_" + "0" * 26}
    check(request("evaluate", reference=pictures, metrics=["fid", "kid", "pr", "ppl"]), card)
    check(request("evaluate", metrics=["ppl"]), card)  # which compares with nothing


def test_pictures_without_colour_are_not_evaluated(of_the_world):
    with pytest.raises(UnsupportedByModel, match="colour"):
        check(request("evaluate"), of_the_world.model_copy(update={"channels": 1}))


def test_evaluation_of_classes_takes_one_that_the_model_has_or_all(of_the_world):
    conditional = of_the_world.model_copy(update={"classes": 10})

    check(request("evaluate"), conditional)
    check(request("evaluate", **{"class": 9}), conditional)
    with pytest.raises(BadRequest):
        check(request("evaluate", **{"class": 10}), conditional)
    with pytest.raises(UnsupportedByModel):
        check(request("evaluate", **{"class": 0}), of_the_world)


def test_a_class_can_be_given_by_its_name(card):
    named = card.model_copy(update={"classes": 3, "class_names": ("tench", "goldfish", "great white shark")})

    assert named.class_number("goldfish", "input.class") == 1
    check(request(**{"class": "tench"}), named)
    with pytest.raises(BadRequest, match=r"no class 'goldfisch'\. Did you mean 'goldfish'\?"):
        check(request(**{"class": "goldfisch"}), named)
    with pytest.raises(BadRequest, match="Give an index, 0 to 2"):
        check(request(**{"class": "zebra"}), named)
    with pytest.raises(UnsupportedByModel):
        check(request(**{"class": "tench"}), card)


def test_truncation_is_refused_where_a_family_has_none(card):
    plain = card.model_copy(update={"truncation": "none", "w_dim": 0, "num_ws": 0, "spaces": ("z",)})

    check(request(), plain)
    check(request(psi=1.0), plain)
    for given in ({"psi": 0.5}, {"cutoff": 0}):
        with pytest.raises(UnsupportedByModel):
            check(request(**given), plain)


def test_a_scaled_z_is_never_scaled_up(card):
    scaled = card.model_copy(update={"truncation": "z"})

    check(request(psi=0.02), scaled)
    for psi in (-0.1, 1.1):
        with pytest.raises(BadRequest):
            check(request(psi=psi), scaled)


def test_levels_of_detail_are_those_that_the_model_has(card):
    grown = card.model_copy(update={"max_lod": 3})

    check(request(lod=2.5), grown)
    with pytest.raises(BadRequest, match="levels 0 to 3"):
        check(request(lod=3.5), grown)
    with pytest.raises(UnsupportedByModel):
        check(request(lod=1.0), card)
    check(request(lod=0.0), card)


@pytest.mark.parametrize(
    "given",
    [
        {"method": "projector", "losses": {"perceptual": 0}},
        {"degradation": {"type": "noise"}, "losses": {"pixel": 0}},
    ],
)
def test_an_inversion_must_compare_something(card, given):
    with pytest.raises(BadRequest, match="would both be 0"):
        check(request("invert", images=IMAGES, **given), card)


@pytest.mark.parametrize(
    "how", [{"space": "z"}, {"space": "z", "method": "multi_code"}, {"method": "multi_code"}]
)
def test_z_of_a_model_with_classes_needs_one_of_them(card, how):
    some = card.model_copy(update={"classes": 3, "class_names": ("ant", "bee", "cow")})
    how = {"method": "projector", "images": IMAGES} | how

    for wanted in (0, 2, "bee"):
        check(request("invert", **how, **{"class": wanted}), some)
    with pytest.raises(BadRequest, match=r"give input\.class, 0 to 2"):
        check(request("invert", **how), some)
    with pytest.raises(BadRequest, match=r"input\.class is 3"):
        check(request("invert", **how, **{"class": 3}), some)
    with pytest.raises(BadRequest, match=r"no class 'bea'\. Did you mean 'bee'"):
        check(request("invert", **how, **{"class": "bea"}), some)
    with pytest.raises(UnsupportedByModel, match="has no classes"):
        check(request("invert", **how, **{"class": 0}), card)
    check(request("invert", images=IMAGES, method="projector"), some)


def test_an_encoder_of_styles_is_for_searches_in_s(card):
    seer = card.model_copy(update={"encoder": {"network": "ghfeat_encoder"}, "spaces": ("z", "w", "w+", "s")})

    check(request("invert", images=IMAGES), seer)
    check(request("invert", images=IMAGES, method="encoder", space="s"), seer)
    check(request("invert", images=IMAGES, method="projector", space="w"), seer)
    for how in ({"space": "w"}, {"method": "encoder", "space": "w+"}):
        with pytest.raises(UnsupportedByModel, match="sees styles; take s"):
            check(request("invert", images=IMAGES, **how), seer)
    with pytest.raises(BadRequest, match=r"in_domain searches in w\+, not in 's'"):
        check(request("invert", images=IMAGES, method="in_domain"), seer)
    with pytest.raises(UnsupportedByModel, match=r"no encoder to W\+"):
        check(request("invert", images=IMAGES, losses={"in_domain": 1}), seer)


def test_landmarks_are_for_one_alignment_and_one_for_each_picture(card):
    face = [[0.0, 0.0]] * 68

    check(request("invert", images=IMAGES, method="projector", align="ffhq"), card)
    with pytest.raises(BadRequest, match="go with align ffhq"):
        check(request("invert", images=IMAGES, method="projector", landmarks=[face]), card)
    with pytest.raises(BadRequest, match="2 faces for 1 pictures"):
        check(
            request("invert", images=IMAGES[:1], method="projector", align="ffhq", landmarks=[face] * 2), card
        )


def test_edits_of_z_name_the_class_twice(card):
    some = card.model_copy(update={"classes": 3})
    edit = {
        "source": {"images": IMAGES},
        "operations": [{"op": "direction", "name": "in_z"}],
        "inversion": {"method": "projector", "space": "z", "class": 1},
    }

    check(request("edit", **edit, **{"class": 1}), some)
    with pytest.raises(BadRequest, match=r"that of input\.inversion\.class"):
        check(request("edit", **edit), some)


def test_features_are_those_of_a_layer_of_the_model(card):
    layers = [{"name": name} for name in ("b4.conv1", "b4.torgb", "b8.conv0")]
    layered = type(card).model_validate(card.model_dump() | {"layers": layers})
    given = {"images": IMAGES, "space": "features"}

    check(request("invert", **given, features={"layer": "b8.conv0", "styles": "held"}), layered)
    for layer in ("b4.torgb", "b16.conv0"):
        with pytest.raises(BadRequest, match=f"no layer '{layer}', only b4.conv1, b8.conv0"):
            check(request("invert", **given, features={"layer": layer}), layered)
    with pytest.raises(BadRequest, match="ii2s searches in"):
        check(request("invert", **given, method="ii2s"), layered)
    with pytest.raises(UnsupportedByModel, match="no space 'features'"):
        check(request("invert", **given), card.model_copy(update={"spaces": ("z",)}))


def test_what_goes_through_w_is_refused_where_there_is_none(of_the_world):
    flat = of_the_world.model_copy(update={"w_dim": 0, "num_ws": 0, "spaces": ("z",), "truncation": "z"})

    check(request("evaluate", metrics=["fid", "factors"]), flat)
    check(request("evaluate", metrics=["ppl"], path={"space": "z"}), flat)
    for kind, given in (
        ("generate", {"mixing": {"rows": [1], "columns": [2], "layers": "0"}}),
        ("evaluate", {"metrics": ["identity"]}),
        ("evaluate", {"metrics": ["ppl"], "path": {"space": "w"}}),
        ("invert", {"images": ["img_" + "0" * 64], "space": "w"}),
    ):
        with pytest.raises(UnsupportedByModel):
            check(request(kind, **given), flat)
    check(request("invert", images=["img_" + "0" * 64]), flat)


def test_directions_are_found_only_in_the_spaces_that_a_model_has(of_the_world):
    flat = of_the_world.model_copy(update={"w_dim": 0, "num_ws": 0, "spaces": ("z",), "truncation": "z"})
    styles = {"method": "stylespace", "name": "a", "factor": "smile"}

    check(request("discover", method="sefa", name="a"), of_the_world)
    check(request("discover", **styles), of_the_world.model_copy(update={"spaces": ("z", "w", "w+", "s")}))
    for card, given in ((flat, {"method": "sefa", "name": "a"}), (of_the_world, styles)):
        with pytest.raises(UnsupportedByModel):
            check(request("discover", **given), card)


def test_a_layer_to_dissect_is_one_that_the_card_lists(of_the_world):
    card = of_the_world.model_copy(update={"layers": (Layer(name="b4.conv1"),)})
    check(request("discover", method="dissect", name="a", features=["b4.conv1"]), card)
    with pytest.raises(BadRequest, match=r"no layer 'b4\.conv'\. Did you mean 'b4\.conv1'"):
        check(request("discover", method="dissect", name="a", features=["b4.conv"]), card)


def test_latents_that_cannot_be_written_are_not_asked_for(card):
    with pytest.raises(UnsupportedByModel):
        check(request(output={"latents": "s"}), card)


def test_a_model_of_classes_needs_one_that_it_has(card):
    conditional = card.model_copy(update={"classes": 10})

    check(request(**{"class": 9}), conditional)
    check(request(source=latents("w", [[0, 1, 2]])), conditional)  # past the point where it matters
    for given in ({}, {"class": 10}):
        with pytest.raises(BadRequest):
            check(request(**given), conditional)


FLOW = {
    "name": "flow",
    "type": "flow",
    "attributes": [{"name": "smile", "kind": "continuous", "mean": 0, "std": 1, "range": [-1, 1]}],
}
UNITS = {"name": "units_0", "type": "units", "layer": "b8.conv1", "units": 4, "parts": ["hat"]}


def test_flows_and_units_are_on_the_card_beside_directions(catalog, store):
    found = DirectionSetRow("tiny", "mine", "a" * 64, "t/default/d/", 9, [FLOW, UNITS])
    store.put_directions(TENANT, found)
    card = catalog.get(TENANT, "tiny")
    assert [member.type for member in card.directions] == ["direction", "direction", "flow", "units"]
    assert card.flow("flow").attributes[0].range == (-1, 1) and card.units("units_0").parts == ("hat",)
    with pytest.raises(UnknownDirection, match="'flow' of 'tiny' is a flow, no direction"):
        card.direction("flow")
    with pytest.raises(UnknownDirection, match="no table of units 'units'"):
        card.units("units")


def test_flows_of_other_weights_are_refused(catalog, store):
    store.put_directions(TENANT, DirectionSetRow("tiny", "mine", "b" * 64, "t/default/d/", 9, [FLOW]))
    with pytest.raises(Conflict, match="those of 'tiny' are"):
        catalog.get(TENANT, "tiny").flow("flow")
