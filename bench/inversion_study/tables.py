"""The tables of the page, by the names of their marks."""

from collections.abc import Iterable, Mapping, Sequence

from bench.inversion_study.measuring import BATCH, LONGER, PLAN, name, restorers
from bench.inversion_study.methods import Variant
from bench.inversion_study.records import Record, Records
from bench.inversion_study.restoration import DAMAGES
from bench.inversion_study.subjects import Model
from bench.page import markdown
from jobs.inversion import METHODS

SCORES = {"psnr_db": 2, "perceptual": 3, "factor_error": 3, "class_error": 3}  # and their decimals
COSTS = {"evaluations": 0, "seconds": 1}
EDITS = {"smile_moved": 2, "others_moved": 2}
REFERENCES = (
    ("the portraits themselves", "reference/truth", None),
    ("the first of them", "reference/truth", BATCH),
    ("the mean face", "reference/mean", None),
    ("samples of the generator", "reference/samples", None),
)
RACES = [
    (Variant("projector", theirs), Variant("hybrid", ours, changes))
    for theirs, ours in (("w", "w+"), ("w", "w"), ("w+", "w+"))
    for changes in ((), LONGER)
    if not (changes and theirs != ours)
]
LOSSES = ("pixel", "perceptual", "latent", "in_domain", "noise_regularization")


def tables(model: Model, records: Records) -> dict[str, str]:
    """By the name of the mark."""
    return {
        "constants": constants(),
        "methods": methods(model, records),
        "restoration": restoration(model, records),
        "race": race(model, records),
    }


def constants() -> str:
    """Of every method, as requests get them that say nothing else."""
    words = {"space": "space", "spaces": "also in", "steps": "steps", "learning_rate": "learning rate"}
    words |= {"schedule": "schedule", "jitter": "jitter", "noise_maps": "noise maps"}
    words |= {loss: f"`{loss}`" for loss in LOSSES}
    lines = [[f"`{method}`", *(_told(getattr(d, name)) for name in words)] for method, d in METHODS.items()]
    return markdown(["method", *words.values()], lines, words=3)


def methods(model: Model, records: Records) -> str:
    """A line for each method in each space, above those of the references."""
    head = ["method", "space", "portraits", "PSNR dB", "perceptual", "factor error", "classes wrong"]
    head += ["evaluations", "seconds", "smile +2 moves the smile", "and others"]
    kinds = SCORES | COSTS | EDITS
    lines = [
        [title, "", str(len(found.rows)), *_numbers(found, kinds)]
        for title, what, below in REFERENCES
        if (found := records.get(what, below))
    ]
    lines += [
        [_called(variant), variant.place, str(len(found.rows)), *_numbers(found, kinds)]
        for variant in PLAN
        if (found := records.get(name(model, variant)))
    ]
    return markdown(head, lines, words=2)


def restoration(model: Model, records: Records) -> str:
    """For each damage the classical remedies and ours, on the same portraits."""
    head = [
        "",
        "restored by",
        "portraits",
        "PSNR dB",
        "perceptual",
        "factor error",
        "classes wrong",
        "seconds",
    ]
    lines = []
    for damage, what in DAMAGES.items():
        folder, first = damage.replace(" ", "_"), damage
        ours = {
            _called(variant, f" in {variant.place}"): name(model, variant, damage)
            for variant in restorers(damage)
        }
        theirs = {remedy: f"{folder}/{remedy.replace(' ', '_')}" for remedy in what.baselines}
        below = min((n for where in ours.values() if (n := records.next_batch(where))), default=None)
        for title, where in {**theirs, **ours}.items():
            if found := records.get(where, below):
                lines.append([first, title, str(len(found.rows)), *_numbers(found, SCORES | {"seconds": 1})])
                first = ""
    return markdown(head, lines, words=2)


def race(model: Model, records: Records) -> str:
    """When `hybrid` reaches what `projector` ends with, on the same portraits."""
    head = ["projector in", "loss", "by", "in", "portraits", "its end", "reached after", "and ends with"]
    lines = []
    for theirs, ours in RACES:
        if (pair := _pair(model, records, theirs, ours)) is None:
            continue
        for loss in ("perceptual", "pixel + perceptual"):
            slow, fast = (curve(record, loss) for record in pair)
            after = reached(fast, slow[-1])
            words = [theirs.place, loss, _called(ours), ours.place, str(len(pair[0].rows))]
            ends = [f"{slow[-1]:.4f}", "never" if after is None else str(after), f"{fast[-1]:.4f}"]
            lines.append([*words, *ends])
    return markdown(head, lines, words=4)


def curve(record: Record, loss: str) -> list[float]:
    """Sum of the named terms before each step."""
    return [sum(values) for values in zip(*(record.curves[term] for term in loss.split(" + ")), strict=True)]


def reached(values: Sequence[float], aim: float) -> int | None:
    """Evaluations until the loss is at most the aim."""
    return next((i + 1 for i, value in enumerate(values) if value <= aim), None)


def _pair(model: Model, records: Records, *variants: Variant) -> list[Record] | None:
    """The records of the portraits that all of them have."""
    names = [name(model, variant) for variant in variants]
    below = min(records.next_batch(what) for what in names)
    found = [records.get(what, below) for what in names]
    return None if None in found else [record for record in found if record is not None]


def _called(variant: Variant, place: str = "") -> str:
    changes = (f"`{name}` {value:g}" for name, value in variant.changes)
    return ", ".join([f"`{variant.method}`{place}", *changes])


def _numbers(record: Record, kinds: Mapping[str, int]) -> Iterable[str]:
    mean = record.mean
    return [f"{mean[name]:.{digits}f}" if name in mean else "-" for name, digits in kinds.items()]


def _told(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value) or "-"
    return f"{value:g}" if isinstance(value, float) else str(value)
