import re

import torch

from generative.worlds.portraits import caption, facts, replace, sample

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
