"""Whether a model can do what a request asks: what only its card knows, and the schema cannot.

Everything here is refused before a row is written, so that the caller hears of it at once.
"""

from collections.abc import Sequence

from jobs.batches import BatchInput
from jobs.cards import WORLD, Card, did_you_mean
from jobs.dataset import DatasetInput
from jobs.discovery import (
    AnyDiscovery,
    AttfindInput,
    DirectionsImport,
    DissectInput,
    EigenganInput,
    GanspaceFeaturesInput,
    GanspaceInput,
    HessianInput,
    PicturesInput,
    SefaInput,
    StyleflowInput,
    StylespaceInput,
    StylespaceLocalInput,
)
from jobs.editing import EditInput
from jobs.errors import BadRequest, LimitExceeded, UnsupportedByModel
from jobs.evaluation import EvaluateInput
from jobs.fit_edits import check_operations
from jobs.inversion import DownsampleDegradation, Inversion, sight
from jobs.schemas import (
    EditRequest,
    EvaluateRequest,
    GenerateInput,
    GenerateRequest,
    ImportRequest,
    InvertInput,
    InvertRequest,
    JobRequest,
)
from jobs.shapes import check_latents, check_layers, check_space, count
from jobs.sources import Source
from jobs.words import MAX_IMAGES


def check(request: JobRequest, card: Card) -> None:
    """Raises BadRequest, or a kind of it, that says what does not fit."""
    if isinstance(request, ImportRequest) or isinstance(request.input, DirectionsImport):
        return
    request = completed(request, card)
    if request.output.latents != "none":
        check_space(request.output.latents, card, "output.latents")
    if isinstance(request, GenerateRequest):
        _check_generate(request.input, card)
    elif isinstance(request, InvertRequest):
        _check_inversion(request.input, card, "input")
        _check_alignment(request.input, len(request.input.images), card, "input")
    elif isinstance(request, EditRequest):
        _check_edit(request.input, card)
        if request.output.latents != "none" and any(op.op == "region" for op in request.input.operations):
            raise BadRequest("output.latents: a region is painted from several latents, which no file holds.")
    elif isinstance(request, EvaluateRequest):
        _check_evaluate(request.input, card)
    elif isinstance(request.input, AnyDiscovery):
        _check_discover(request.input, card)


def completed(request: JobRequest, card: Card) -> JobRequest:
    """The request with what its inversion or dataset leaves out and what depends on the model."""
    given = request.input
    if isinstance(given, InvertInput):
        given = given.completed(sight(card.encoder), card.spaces)
    elif isinstance(given, EditInput):
        inversion = given.inversion.completed(sight(card.encoder), card.spaces)
        given = given.model_copy(update={"inversion": inversion})
    elif isinstance(given, DatasetInput):
        given = given.completed(card.resolution, card.sha256)
    return request.model_copy(update={"input": given})


def pictures(request: JobRequest) -> int:
    """How many pictures the job makes; where only the worker will know the latents of a source, one each."""
    given = request.input
    if isinstance(given, GenerateInput):
        if given.mixing is not None:
            return len(given.mixing.rows) * len(given.mixing.columns)
        return given.interpolate.frames if given.interpolate is not None else count(given.source) or 1
    if isinstance(given, EditInput):
        return (count(given.source) or 1) * (len(given.sweep.strengths) if given.sweep else 1)
    if isinstance(given, EvaluateInput):
        return given.count
    if isinstance(given, DatasetInput | BatchInput):
        return given.pictures
    if isinstance(given, GanspaceFeaturesInput):
        return 2 * given.samples
    if isinstance(given, PicturesInput):
        return given.samples
    return len(given.images) if isinstance(given, InvertInput) else 0


def _check_generate(given: GenerateInput, card: Card) -> None:
    _check_source(given.source, given, card)
    if given.lod is not None and given.lod > card.max_lod:
        if card.max_lod == 0:
            raise UnsupportedByModel(f"input.lod: the model {card.name!r} has no levels of detail.")
        raise BadRequest(f"input.lod is {given.lod:g}: the model has levels 0 to {card.max_lod:g}")
    if given.mixing is not None:
        check_space("w+", card, "input.mixing")
        check_layers(given.mixing.layers, card, "input.mixing.layers")
    given_count = count(given.source)
    if given.interpolate is not None and given_count is not None and given_count < 2:
        raise BadRequest("input.interpolate needs a source of at least two latents")


def _check_edit(given: EditInput, card: Card) -> None:
    _check_source(given.source, given, card)
    if given.source.images is not None:
        _check_inversion(given.inversion, card, "input.inversion")
        if given.inversion.space == "z" and card.classes and given.class_index is None:
            raise BadRequest(f"give input.class, 0 to {card.classes - 1}, that of input.inversion.class")
        _check_alignment(given.inversion, len(given.source.images), card, "input.inversion")
    check_operations(given, card, _source_space(given))
    strengths = len(given.sweep.strengths) if given.sweep else 1
    if (count(given.source) or 1) * strengths > MAX_IMAGES:
        raise LimitExceeded(f"the sweep makes more than {MAX_IMAGES} pictures")


def _check_inversion(given: Inversion, card: Card, where: str) -> None:
    """given: completed."""
    method, space, losses = given.defaults, given.space, given.losses
    assert space is not None
    if method.encoder and not card.encoder:
        raise UnsupportedByModel(
            f"{where}.method: {given.method} begins with an encoder, and the model {card.name!r} has none;"
            " take projector."
        )
    if not method.allows(space):
        listed = ", ".join(dict.fromkeys((method.space, *method.spaces)))
        raise BadRequest(f"{where}.space: {given.method} searches in {listed}, not in {space!r}.")
    check_space(space, card, f"{where}.space")
    if method.encoder and sight(card.encoder) == "s" and space != "s":
        raise UnsupportedByModel(f"{where}.space: the encoder of {card.name!r} sees styles; take s.")
    if (layer := given.features.layer) is not None and layer not in (names := _layer_names(card)):
        raise BadRequest(f"{where}.features.layer: there is no layer {layer!r}, only {', '.join(names)}.")
    if given.method == "pti" and given.degradation is not None:
        raise BadRequest(f"{where}.degradation: pti tunes the generator to whole pictures.")
    if method.needs and (given.degradation is None or given.degradation.type not in method.needs):
        raise BadRequest(f"{where}.degradation: {given.method} needs one of the type {method.needs[0]}.")
    if losses.pixel == 0 and losses.perceptual == 0:
        raise BadRequest(
            f"{where}.losses: pixel and perceptual would both be 0; {given.method} needs one of them."
        )
    if losses.in_domain and sight(card.encoder) != "w+":
        raise UnsupportedByModel(f"{where}.losses.in_domain: the model {card.name!r} has no encoder to W+.")
    if given.class_index is not None:
        card.class_number(given.class_index, f"{where}.class")
    elif card.classes and (space == "z" or given.method == "multi_code"):
        raise BadRequest(f"give {where}.class, 0 to {card.classes - 1}: {space} is searched in one class")
    if isinstance(given.degradation, DownsampleDegradation) and card.resolution % given.degradation.factor:
        raise BadRequest(
            f"{where}.degradation.factor: {card.resolution} pixels cannot be divided by"
            f" {given.degradation.factor}."
        )


def _layer_names(card: Card) -> list[str]:
    """Of the layers that make features, coarse to fine."""
    return [layer.name for layer in card.layers if "rgb" not in layer.name]


def _check_alignment(given: Inversion, images: int, card: Card, where: str) -> None:
    if given.align == "auto" and card.world != WORLD:
        raise UnsupportedByModel(
            f"{where}.align: there is no network that finds faces for the model {card.name!r};"
            " take ffhq, or none."
        )
    if given.landmarks is not None and given.align != "ffhq":
        raise BadRequest(f"{where}.landmarks: they go with align ffhq.")
    if given.landmarks is not None and len(given.landmarks) != images:
        raise BadRequest(f"{where}.landmarks: {len(given.landmarks)} faces for {images} pictures.")


def _check_evaluate(given: EvaluateInput, card: Card) -> None:
    if card.channels != 3:
        raise UnsupportedByModel(f"The pictures of {card.name!r} have no colour, and the features need it.")
    if given.class_index is not None:
        card.class_number(given.class_index, "input.class")
    check_truncation(given, card)
    if card.num_ws == 0 and "identity" in given.metrics:
        raise UnsupportedByModel(f"input.metrics: identity is followed in 'w', and {card.name!r} has no W.")
    if "ppl" in given.metrics and "path" in given.model_fields_set:
        check_space(given.path.space, card, "input.path.space")
    for i, step in enumerate(given.edits):
        space, where = card.direction(step.name).space, f"input.edits[{i}]"
        if space not in ("w", "w+"):
            raise UnsupportedByModel(f"{where} acts in {space!r}; only edits in w and w+ can be followed.")
        if step.layers is not None:
            check_layers(step.layers, card, f"{where}.layers")
    if card.world == WORLD:
        return
    if given.reference == "world" and set(given.metrics) != {"ppl"}:
        raise UnsupportedByModel(
            f"input.reference: the model {card.name!r} was not trained on a world that can be rendered;"
            " give pictures."
        )
    if needs := {"factors", "identity"} & set(given.metrics):
        raise UnsupportedByModel(f"input.metrics: {min(needs)} can be read only from pictures of {WORLD!r}.")


def _check_discover(given: AnyDiscovery, card: Card) -> None:
    card.refuse_set(given.name)
    if (needed := _space_of(given)) not in card.spaces:
        raise UnsupportedByModel(f"input.method: {given.method} needs the space {needed!r}.")
    if isinstance(given, EigenganInput) and card.family != "eigengan":
        raise UnsupportedByModel(f"input.method: the family {card.family} has no subspaces; take sefa.")
    if isinstance(given, DissectInput):
        _check_features(given.features, card, "input.features")
    if isinstance(given, GanspaceFeaturesInput):
        _check_features([given.layer], card, "input.layer")
    if given.class_index is not None:
        card.class_number(given.class_index, "input.class")
    elif card.classes:
        raise BadRequest(f"give input.class, 0 to {card.classes - 1}: the model makes pictures of a class")
    if isinstance(given, SefaInput | StyleflowInput) and given.layers is not None:
        check_layers(given.layers, card, "input.layers")
    if isinstance(given, GanspaceInput) and given.components > min(card.w_dim, given.samples):
        raise BadRequest(f"input.components is {given.components}: W has {card.w_dim} dimensions")
    if isinstance(given, PicturesInput) and card.world != WORLD:
        raise UnsupportedByModel(
            f"input.method: {given.method} reads pictures, and can only those of {WORLD!r}."
        )


def _space_of(given: AnyDiscovery) -> str:
    """The space that a model needs for a method."""
    if isinstance(given, HessianInput):
        return given.space
    if isinstance(given, StylespaceInput | StylespaceLocalInput | AttfindInput):
        return "s"
    return "z" if isinstance(given, EigenganInput | DissectInput | GanspaceFeaturesInput) else "w"


def _check_features(wanted: Sequence[str], card: Card, where: str) -> None:
    """Cards of families without styles do not list their layers: there the worker will know."""
    known = [layer.name for layer in card.layers]
    for name in wanted:
        if known and name not in known:
            hint = did_you_mean(name, known) or f" It has {', '.join(known)}."
            raise BadRequest(f"{where}: the model {card.name!r} has no layer {name!r}.{hint}")


def _source_space(given: EditInput) -> str:
    """Where the latents are before the first operation; for an artifact the earliest that it can be."""
    if given.source.images is not None:
        return str(given.inversion.space)
    return given.source.latents.space if given.source.latents is not None else "z"


def _check_source(source: Source, given: GenerateInput | EditInput, card: Card) -> None:
    if source.latents is not None:
        check_latents(source.latents, card, "input.source.latents")
    check_truncation(given, card)
    if given.cutoff is not None and card.truncation != "w":
        raise UnsupportedByModel(f"input.cutoff: the model {card.name!r} does not truncate layer by layer.")
    if given.cutoff is not None and given.cutoff > card.num_ws:
        raise BadRequest(f"input.cutoff is {given.cutoff}: the model has {card.num_ws} layers")
    _check_class(source, given.class_index, card)


def check_truncation(given: GenerateInput | EditInput | EvaluateInput | DatasetInput, card: Card) -> None:
    if card.truncation == "none" and "psi" in given.model_fields_set and given.psi != 1:
        raise UnsupportedByModel(f"input.psi: the model {card.name!r} has no truncation; leave psi out.")
    if card.truncation == "z" and not 0 <= given.psi <= 1:
        raise BadRequest(f"input.psi is {given.psi:g}: the model {card.name!r} scales z by it, by 0 to 1")


def _check_class(source: Source, wanted: int | str | None, card: Card) -> None:
    if wanted is not None:
        card.class_number(wanted, "input.class")
    mapped = source.seeds is not None or (source.latents is not None and source.latents.space == "z")
    if wanted is None and card.classes > 0 and mapped:
        raise BadRequest(f"give input.class, 0 to {card.classes - 1}: the model makes pictures of a class")
