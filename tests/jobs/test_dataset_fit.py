"""Datasets that a model can make, and those that its card refuses."""

import pytest

from jobs.dataset_fit import check
from jobs.errors import BadRequest, UnknownDirection, UnsupportedByModel
from jobs.fit import completed
from jobs.schemas import request_adapter
from tests.jobs.test_fit_edits import CARD, OF_THE_WORLD


def fits(*mix, card=OF_THE_WORLD, **given):
    body = {"kind": "dataset", "model": "faces", "input": {"count": 9, "mix": mix} | given}
    check(completed(request_adapter.validate_python(body, strict=False), card), card)


def share(edits=(), **flow):
    edits = [{"name": name} for name in edits]
    return {
        "name": "part",
        "share": 1,
        "flow": {"name": "flow", "set": {"smile": 0.5}} | flow,
        "edits": edits,
    }


def test_a_flow_may_be_followed_by_edits_in_w_and_s():
    fits(share(("smile", "age"), layers="0-5"), variants=[{"name": "more", "edits": [{"name": "smile"}]}])


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (share(name="smile"), UnknownDirection),
        (share(set={"frown": 1.0}), BadRequest),
        (share(set={"smile": 9.0}), BadRequest),
        (share(layers="6"), BadRequest),
        (share(("in_z",)), UnsupportedByModel),
    ],
)
def test_what_a_flow_cannot_do_is_refused_with_its_place(wrong, error):
    with pytest.raises(error, match=r"input\.mix\[0\]|no flow|is a direction"):
        fits(wrong)


def test_a_variant_that_leads_back_behind_a_share_s_flow_is_refused():
    with pytest.raises(UnsupportedByModel, match=r"input\.variants\[0\]"):
        fits(share(), variants=[{"name": "more", "edits": [{"name": "in_z"}]}])


def test_a_flow_needs_pictures_whose_attributes_are_read():
    with pytest.raises(UnsupportedByModel, match="flow need"):
        fits(share(), card=CARD)
