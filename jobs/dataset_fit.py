"""Whether a model can make a dataset that is asked for; see `jobs.fit`."""

from jobs.cards import WORLD, Card, did_you_mean
from jobs.dataset import MAX_SHARDS, DatasetInput, Range, Share
from jobs.errors import BadRequest, LimitExceeded, UnsupportedByModel
from jobs.evaluation import EditStep
from jobs.factors import BINARY, CATEGORICAL, CONTINUOUS, FACTORS
from jobs.fit import check_truncation
from jobs.fit_edits import check_attributes
from jobs.schemas import DatasetRequest, OutputOptions
from jobs.shapes import check_layers, check_space

MAX_SHARD_BYTES = 2**31
_ORDER = {"z": 0, "w": 1, "w+": 1, "s": 2}


def check(request: DatasetRequest, card: Card) -> None:
    """Raises BadRequest, or a kind of it, that says what does not fit. request: completed."""
    given, output = request.input, request.output
    card.refuse_weights(given.model_sha256, "the dataset")
    if output.format == "npz" or output.grid or output.inline or output.latents in ("p", "p+"):
        raise BadRequest(
            "output: a dataset takes png, jpeg or webp, latents in z, w, w+ or s, no grid, no inline"
        )
    if output.latents != "none":
        check_space(output.latents, card, "output.latents")
    _check_size(given, output, card)
    check_truncation(given, card)
    if given.cutoff is not None and (card.truncation != "w" or given.cutoff > card.num_ws):
        raise UnsupportedByModel(f"input.cutoff: the model {card.name!r} does not truncate so many layers.")
    reading = given.attributes or given.masks or any(s.require or s.flow for s in given.mix)
    if reading and card.world != WORLD:
        raise UnsupportedByModel(
            f"attributes, masks, require and flow need pictures of {WORLD!r}, which {card.name!r} does not"
            " make."
        )
    for i, share in enumerate(given.mix):
        _check_share(share, card, f"input.mix[{i}]")
    for i, variant in enumerate(given.variants):
        where = f"input.variants[{i}].edits"
        _check_edits(variant.edits, card, where)
        for share in given.mix:
            _check_edits((*share.edits, *variant.edits), card, where, at=_start(share))
    classes = [given.class_index, *(share.class_index for share in given.mix)]
    for wanted in classes:
        if wanted is not None:
            card.class_number(wanted, "input.class")
    whole = sum(share.share for share in given.mix if share.class_index is not None) > 1 - 1e-9
    if card.classes and given.class_index is None and not whole:
        raise BadRequest(f"give input.class, 0 to {card.classes - 1}, or a class for every share of the mix")


def _check_size(given: DatasetInput, output: OutputOptions, card: Card) -> None:
    assert given.shard_size is not None
    if given.shards > MAX_SHARDS:
        raise LimitExceeded(
            f"input.shard_size: {given.shards} shards of {given.shard_size} samples, and {MAX_SHARDS} may be"
        )
    pixels = given.shard_size * given.pictures_each * (output.size or card.resolution) ** 2
    if 3 * pixels > MAX_SHARD_BYTES:
        raise LimitExceeded("input.shard_size: a shard has at most 2 GiB of pixels; make it smaller")


def _check_share(share: Share, card: Card, where: str) -> None:
    if share.flow is not None:
        check_attributes(card.flow(share.flow.name), share.flow.set, f"{where}.flow")
        if share.flow.layers is not None:
            check_layers(share.flow.layers, card, f"{where}.flow.layers")
    _check_edits(share.edits, card, f"{where}.edits", at=_start(share))
    for name, wanted in share.require.items():
        if name not in FACTORS:
            raise BadRequest(f"{where}.require: there is no factor {name!r}.{did_you_mean(name, FACTORS)}")
        fits = (
            (name in BINARY and isinstance(wanted, bool))
            or (name in CONTINUOUS and isinstance(wanted, Range))
            or (name in CATEGORICAL and wanted in CATEGORICAL[name])
        )
        if not fits:
            kind = "true or false" if name in BINARY else '{"min": …, "max": …}'
            kind = f"one of {', '.join(CATEGORICAL[name])}" if name in CATEGORICAL else kind
            raise BadRequest(f"{where}.require.{name}: give {kind}")


def _start(share: Share) -> int:
    """Where its edits may begin: a flow leaves latents in w+."""
    return 0 if share.flow is None else _ORDER["w+"]


def _check_edits(edits: tuple[EditStep, ...], card: Card, where: str, at: int = 0) -> None:
    for i, step in enumerate(edits):
        space = card.direction(step.name).space
        if space not in _ORDER or _ORDER[space] < at:
            raise UnsupportedByModel(f"{where}[{i}] acts in {space!r}: edits go from z over w and w+ to s.")
        at = _ORDER[space]
        if step.layers is not None:
            check_layers(step.layers, card, f"{where}[{i}].layers")
