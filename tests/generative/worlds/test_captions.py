import re

import pytest
import torch

from generative.worlds import palettes
from generative.worlds.portraits import FACTORS, caption, columns, facts, replace, sample

PEOPLE = sample(400, torch.Generator().manual_seed(4))


def test_captions_name_what_is_there_and_nothing_that_is_not():
    words = {
        "glasses": r"glasses",
        "hat": r"\b(hat|beanie)\b",
        "beard": r"\bbeard\b",
    }
    for name, pattern in words.items():
        for text in caption(replace(PEOPLE, **{name: 1.0})):
            assert re.search(pattern, text), text
        for text in caption(replace(PEOPLE, **{name: 0.0})):
            assert not re.search(pattern, text), text


def test_captions_agree_with_colours_and_moods():
    for text in caption(replace(PEOPLE, hair_color=4.0, smile=0.9)):
        assert "blond" in text
        assert not re.search("sad|unhappy", text)
    for text in caption(replace(PEOPLE, smile=-0.8)):
        assert not re.search("grin|smil", text)
    for text in caption(replace(PEOPLE, age=0.05)):
        assert "young person" in text and "old" not in re.sub("gold", "", text)


def test_facts_are_silent_on_what_does_not_stand_out():
    plain = replace(
        PEOPLE[:1],
        smile=0.0,
        mouth_open=0.0,
        brow=0.0,
        yaw=0.0,
        beard=0.0,
        glasses=0.0,
        hat=0.0,
        earrings=0.0,
        age=0.4,
    )
    assert set(facts(plain)[0]) <= {"skin", "hair", "eyes", "shirt", "background", "light"}


def test_phrasing_depends_on_the_seed_and_not_on_the_batch():
    assert caption(PEOPLE, seed=1) == caption(PEOPLE, seed=1)
    assert caption(PEOPLE[7:8], seed=1) == caption(PEOPLE, seed=1)[7:8]
    phrasings = {caption(PEOPLE[:1], seed=seed)[0] for seed in range(30)}
    assert len(phrasings) > 20


def test_captions_are_well_formed_english():
    for text in caption(PEOPLE):
        assert text[0].isupper() and text.endswith(".")
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  | ,|,,|\{|\band and\b", text), text


NAMED = {factor.name: factor.values for factor in FACTORS}
VALUES = {name: "|".join(values) for name, values in NAMED.items()}
PATHS = {
    "shirt_color": (palettes.SHIRT, r"an? ({}) shirt"),
    "background": (palettes.BACKGROUND, r"an? ({}) background"),
    "skin_tone": (palettes.SKIN, r"(?:with|,|and) ({}) skin"),
}


def read(text: str, pattern: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found else None


@pytest.mark.parametrize("seed", [0, 1])
def test_facts_can_be_read_back_from_a_caption(seed):
    values = {name: column.tolist() for name, column in columns(PEOPLE).items()}
    told = dict.fromkeys(("earrings", "collar", "iris_color", *PATHS), 0)
    for i, text in enumerate(caption(PEOPLE, seed)):
        person = {name: column[i] for name, column in values.items()}
        for name, word in (("glasses", "glasses"), ("beard", "beard"), ("hat", r"(?:hat|beanie)")):
            assert bool(re.search(rf"\b{word}\b", text)) == bool(person[name]), text
        hair = NAMED["hair_color"][int(person["hair_color"])]
        assert read(text, rf"\b({VALUES['hair_color']}) hair\b") == hair, text
        if person["beard"]:
            assert read(text, rf"\b({VALUES['hair_color']}) beard\b") == hair, text
        for name, word in (("earrings", "earrings"), ("collar", "with a collar")):
            if word in text:
                assert person[name] == 1, text
                told[name] += 1
        eyes = read(text, rf"\b({VALUES['iris_color']}) eyes\b")
        if eyes is not None:
            assert eyes == NAMED["iris_color"][int(person["iris_color"])], text
            told["iris_color"] += 1
        for name, (palette, pattern) in PATHS.items():
            color = read(text, pattern.format("|".join(sorted(palette, key=len, reverse=True))))
            if color is not None:
                place = list(palette).index(color) / (len(palette) - 1)
                assert abs(place - person[name]) <= 0.501 / (len(palette) - 1), text
                told[name] += 1
    assert all(20 < count < 400 for count in told.values()), told


def test_captions_agree_with_pose_light_and_mood():
    values = {name: column.tolist() for name, column in columns(PEOPLE).items()}
    for i, text in enumerate(caption(PEOPLE, 3)):
        signs = {
            "yaw": (r"(?:looking|turned) to the (left|right)", 0.25),
            "light_azimuth": (r"lit from the (left|right)", 0.7),
        }
        for name, (pattern, least) in signs.items():
            side = read(text, pattern)
            if side is not None:
                assert values[name][i] * {"left": -1, "right": 1}[side] >= least, text
        if re.search("smil|grin", text):
            assert values["smile"][i] >= 0.3, text
        if re.search(r"\bsad\b|unhappy", text):
            assert values["smile"][i] < -0.25, text
        if "mouth is open" in text or "open mouth" in text:
            assert values["mouth_open"][i] > 0.5, text
        if re.search(r"\bold person", text):
            assert values["age"][i] >= 0.65, text


def test_one_person_is_described_in_hundreds_of_ways_and_many_people_in_as_many_forms():
    assert len({caption(PEOPLE[:1], seed)[0] for seed in range(300)}) > 200
    words = "|".join([*VALUES["hair_color"].split("|"), *(c for p, _ in PATHS.values() for c in p)])
    forms = {re.sub(rf"\b(very short|short|long|wavy|{words})\b", "_", text) for text in caption(PEOPLE)}
    assert len(forms) > 350
