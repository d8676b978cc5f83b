"""Plain English for a portrait.

A caption says what a person would say: it names what stands out and leaves out what does not. `facts` is
the truth that captions draw on: short phrases by subject, the same for the same factors. `caption` puts
some of them into a sentence; the sentence, its words and what is left out depend on the seed and the facts.
"""

from __future__ import annotations

import random

from torch import Tensor

from generative.worlds import palettes
from generative.worlds.factors import FACTORS, check, columns

_VALUES = {factor.name: factor.values for factor in FACTORS}

_WORDS: dict[str, tuple[str, ...]] = {
    "smiling broadly": ("smiling broadly", "with a big smile", "grinning"),
    "smiling": ("smiling", "with a smile", "who smiles"),
    "looking sad": ("looking sad", "with a sad mouth", "who looks unhappy"),
    "with an open mouth": ("with an open mouth", "whose mouth is open"),
    "glasses": ("glasses", "round glasses", "dark round glasses"),
    "a hat": ("a hat", "a knitted hat", "a beanie"),
    "earrings": ("earrings", "gold earrings"),
    "looking to the right": ("looking to the right", "turned to the right"),
    "looking to the left": ("looking to the left", "turned to the left"),
    "raised brows": ("raised brows", "lifted eyebrows"),
    "a frown": ("a frown", "frowning brows"),
}
_OPENINGS = (
    "a portrait of {}",
    "a picture of {}",
    "{}",
    "a 3-D portrait of {}",
    "the face of {}",
    "a drawing of the head of {}",
)


def caption(factors: Tensor, seed: int = 0) -> list[str]:
    """One English sentence for each row of factors (N, F); other seeds give other phrasings."""
    return [_sentence(fact, random.Random(f"{seed} {fact}")) for fact in facts(factors)]


def facts(factors: Tensor) -> list[dict[str, str]]:
    """What can be said of each row of factors (N, F): phrases by subject, where there is something to say."""
    check(factors)
    table = {name: column.tolist() for name, column in columns(factors).items()}
    return [_facts({name: column[i] for name, column in table.items()}) for i in range(len(factors))]


def _facts(f: dict[str, float]) -> dict[str, str]:
    found = {
        "age": _banded(f["age"], ((0.2, "young"), (0.65, ""), (2, "old"))),
        "skin": f"{palettes.nearest(palettes.SKIN, f['skin_tone'])} skin",
        "hair": f"{_hair(f)} hair",
        "eyes": f"{_VALUES['iris_color'][int(f['iris_color'])]} eyes",
        "smile": _banded(
            f["smile"], ((-0.25, "looking sad"), (0.3, ""), (0.65, "smiling"), (2, "smiling broadly"))
        ),
        "mouth": "with an open mouth" if f["mouth_open"] > 0.5 else "",
        "brow": _banded(f["brow"], ((-0.5, "a frown"), (0.5, ""), (2, "raised brows"))),
        "pose": _banded(f["yaw"], ((-0.25, "looking to the left"), (0.25, ""), (2, "looking to the right"))),
        "beard": f"{_a(_hair_color(f))} beard" if f["beard"] else "",
        "glasses": "glasses" if f["glasses"] else "",
        "hat": "a hat" if f["hat"] else "",
        "earrings": "earrings" if f["earrings"] else "",
        "shirt": f"{_a(palettes.nearest(palettes.SHIRT, f['shirt_color']))} shirt{_collar(f)}",
        "background": f"{_a(palettes.nearest(palettes.BACKGROUND, f['background']))} background",
        "light": _banded(
            f["light_azimuth"], ((-0.7, "lit from the left"), (0.7, ""), (2, "lit from the right"))
        ),
    }
    return {subject: phrase for subject, phrase in found.items() if phrase}


def _a(phrase: str) -> str:
    """The phrase after its indefinite article."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _banded(value: float, bands: tuple[tuple[float, str], ...]) -> str:
    """The word of the first band whose upper end is above `value`."""
    return next(word for end, word in bands if value < end)


def _hair_color(f: dict[str, float]) -> str:
    return _VALUES["hair_color"][int(f["hair_color"])]


def _hair(f: dict[str, float]) -> str:
    length = _banded(f["hair_length"], ((0.12, "very short "), (0.4, "short "), (0.75, ""), (2, "long ")))
    wave = "wavy " if f["curl"] > 0.7 else ""
    return f"{length}{wave}{_hair_color(f)}"


def _collar(f: dict[str, float]) -> str:
    return " with a collar" if f["collar"] else ""


def _sentence(fact: dict[str, str], rng: random.Random) -> str:
    """Put the phrases of one portrait into a sentence; looks are always named, the rest most of the time."""

    def told(subject: str, chance: float = 0.75) -> list[str]:
        if subject not in fact or rng.random() > chance:
            return []
        phrase = fact[subject]
        return [rng.choice(_WORDS.get(phrase, (phrase,)))]

    who = _a(f"{fact['age']} person") if "age" in fact else rng.choice(("a person", "someone"))
    has = told("hair", 1.0) + told("beard", 1.0) + told("eyes", 0.6) + told("skin", 0.5) + told("brow")
    rng.shuffle(has)
    parts = [f"{who} with {_listed(has)}"]
    wears = told("glasses", 1.0) + told("hat", 1.0) + told("earrings") + told("shirt", 0.6)
    if wears:
        parts.append("wearing " + _listed(wears))
    doing = told("smile", 0.9) + told("mouth", 0.6) + told("pose", 0.6)
    rng.shuffle(doing)
    parts += doing + told("light", 0.3)
    subject = ", ".join(parts)
    place = rng.choice((", on {}", ", in front of {}", ", {} behind")) if rng.random() < 0.6 else ""
    sentence = rng.choice(_OPENINGS).format(subject + place.format(fact["background"]))
    return sentence[0].upper() + sentence[1:] + "."


def _listed(phrases: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(phrases[:-1]), phrases[-1])))
