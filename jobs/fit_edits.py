"""Whether a model can carry out the operations of an edit, which act one after the other.

Latents go one way: from z over w and w+ (and p and p+, which are the same place) to s; those with a map of
features move in w alone. So each operation says where it acts, and that must lie ahead.
"""

from collections.abc import Mapping

from jobs.cards import WORLD, Card, Flow
from jobs.editing import (
    AnyMask,
    AnyOperation,
    AttributesOperation,
    AverageOperation,
    Channel,
    DirectionOperation,
    EditInput,
    FeatureVector,
    InterpolateOperation,
    RegionOperation,
    StructureOperation,
    SwapLayersOperation,
    UnitsOperation,
)
from jobs.errors import BadRequest, UnsupportedByModel
from jobs.shapes import check_latents, check_layers, check_packed, check_space, count, shape_of
from jobs.sources import LatentSource, parse_layers

_WAY = {"z": 0, "p": 1, "p+": 1, "w": 1, "w+": 1, "s": 2, "features": 1}
_OFF_GRID = ("stylegan3",)  # families whose features are not laid out as their pictures are


def check_operations(given: EditInput, card: Card, at: str) -> None:
    """at: the space that the latents are in before the first. Raises BadRequest, or a kind of it."""
    images = count(given.source)
    for i, operation in enumerate(given.operations):
        at = _check(operation, card, at, images, f"input.operations[{i}]")


def check_lineage(card: Card, other: Card, where: str) -> None:
    """Two models whose layers can be exchanged. Raises UnsupportedByModel."""
    if not card.architecture or (card.network, card.architecture) != (other.network, other.architecture):
        raise UnsupportedByModel(f"{where}: {other.name!r} and {card.name!r} have different architectures.")


def _check(operation: AnyOperation, card: Card, at: str, images: int | None, where: str) -> str:
    """The space that latents are in after it."""
    _check_layers(operation, card, where)
    for mask in operation.masks:
        _check_mask(mask, card, where)
    match operation:
        case DirectionOperation():
            return _check_direction(operation, card, at, where)
        case UnitsOperation():
            _check_units(operation, card, where)
            return at
        case AttributesOperation():
            check_attributes(card.flow(operation.flow), operation.set, where)
        case RegionOperation():
            return _check_region(operation, card, at, images, where)
        case SwapLayersOperation() | StructureOperation():
            if card.family != "stylegan2":
                raise UnsupportedByModel(f"{where}: only layers of the family stylegan2 can be exchanged.")
            return at
    for source in operation.sources:
        _check_others(operation, source, card, images, where)
    return _onward(at, _place(operation, card, at), where)


def _check_layers(operation: AnyOperation, card: Card, where: str) -> None:
    layers = getattr(operation, "layers", None)
    if layers is None:
        return
    check_layers(layers, card, f"{where}.layers")
    if isinstance(operation, StructureOperation) and len(parse_layers(layers)) == card.num_ws:
        raise BadRequest(f"{where}.layers: all layers would stay as they are")


def _place(operation: AnyOperation, card: Card, at: str) -> str:
    """Where an operation with other latents acts."""
    if isinstance(operation, InterpolateOperation) and (operation.mode == "spherical" or card.num_ws == 0):
        return "z"
    if isinstance(operation, AttributesOperation):
        return "w+"
    if card.num_ws == 0:
        raise UnsupportedByModel(f"{operation.op} acts in W, and the model {card.name!r} has none.")
    return "s" if at == "s" else "w+"


def _check_others(
    operation: AnyOperation, source: LatentSource, card: Card, images: int | None, where: str
) -> None:
    if source.latents is not None:
        check_latents(source.latents, card, f"{where}: its latents")
    spherical = isinstance(operation, InterpolateOperation) and operation.mode == "spherical"
    if spherical and source.latents is not None and source.latents.space != "z":
        raise UnsupportedByModel(f"{where}: the sphere is that of z, and the others are not in z.")
    others = count(source)
    if isinstance(operation, AverageOperation):
        if operation.weights is not None and others is not None and len(operation.weights) != others:
            raise BadRequest(f"{where}.weights: {len(operation.weights)} for {others} latents")
    elif others is not None and images is not None and others not in (1, images):
        raise BadRequest(f"{where}: {others} other latents for {images} pictures; give one, or one for each")


def _check_direction(operation: DirectionOperation, card: Card, at: str, where: str) -> str:
    if operation.features is not None:
        _check_features(operation.features, card, f"{where}.features")
        return at
    space = _direction_space(operation, card, where)
    for name in operation.keep:
        kept = card.direction(name).space
        if (kept in ("w", "w+")) != (space in ("w", "w+")) or (kept == "z") != (space == "z"):
            raise UnsupportedByModel(f"{where}.keep: {name!r} is in {kept!r}, not in {space!r}.")
    if operation.keep and space not in ("z", "w", "w+"):
        raise UnsupportedByModel(f"{where}.keep: directions are projected in z, w and w+, not in {space!r}.")
    if operation.layers is not None and space in ("z", "s"):
        raise UnsupportedByModel(f"{where}.layers: {space!r} has no layers to choose.")
    return _onward(at, space, where)


def _direction_space(operation: DirectionOperation, card: Card, where: str) -> str:
    if operation.name is not None:
        return card.direction(operation.name).space
    if operation.channel is not None:
        _check_channel(operation.channel, card, f"{where}.channel")
        return "s"
    if operation.dimension is not None:
        if operation.dimension >= card.z_dim:
            raise BadRequest(f"{where}.dimension: z has the dimensions 0 to {card.z_dim - 1}")
        return "z"
    assert operation.vector is not None
    check_latents(operation.vector, card, f"{where}.vector")
    if count(LatentSource(latents=operation.vector)) != 1:
        raise BadRequest(f"{where}.vector: a direction is one row")
    return operation.vector.space


def _check_channel(channel: Channel, card: Card, where: str) -> None:
    check_space("s", card, where)
    widths = {layer.name: layer.channels for layer in card.layers}
    if channel.layer not in widths:
        raise UnsupportedByModel(f"{where}: no layer {channel.layer!r}; the card lists them as layers.")
    if channel.index >= widths[channel.layer]:
        raise BadRequest(f"{where}.index: {channel.layer} has the channels 0 to {widths[channel.layer] - 1}")


def _check_features(features: FeatureVector, card: Card, where: str) -> None:
    layer, shape = card.feature(features.layer, f"{where}.layer"), shape_of(features, where)
    channels, whole = (layer.channels,), (layer.channels, layer.height, layer.width)
    if shape not in (channels, whole):
        raise BadRequest(f"{where}: the layer has the shape {channels} or {whole}, not {shape}")
    check_packed(features, shape, where)


def _check_units(operation: UnitsOperation, card: Card, where: str) -> None:
    if operation.layer is not None:
        layer = card.feature(operation.layer, f"{where}.layer")
        if max(operation.units or ()) >= layer.channels:
            raise BadRequest(f"{where}.units: {layer.name} has the units 0 to {layer.channels - 1}")
        return
    assert operation.table is not None
    table = card.units(operation.table)
    if operation.part not in table.parts:
        raise BadRequest(f"{where}.part: {table.name!r} knows the parts {', '.join(table.parts)}")
    if operation.count > table.units:
        raise BadRequest(f"{where}.count: {table.layer} has {table.units} units")


def check_attributes(flow: Flow, values: Mapping[str, float], where: str) -> None:
    """Whether a flow may be asked for values of its attributes. Raises BadRequest."""
    ranges = {attribute.name: attribute.range for attribute in flow.attributes}
    for name, value in values.items():
        if name not in ranges:
            raise BadRequest(f"{where}.set: {flow.name!r} knows {', '.join(ranges)}, not {name!r}")
        low, high = ranges[name]
        room = high - low  # as much again on either side: further, the flow says nothing
        if not low - room <= value <= high + room:
            raise BadRequest(f"{where}.set: {name} goes from {low:g} to {high:g}")


def _check_region(operation: RegionOperation, card: Card, at: str, images: int | None, where: str) -> str:
    after = at
    for i, inner in enumerate(operation.operations):
        after = _check(inner, card, after, images, f"{where}.operations[{i}]")
    return after


def _check_mask(mask: AnyMask, card: Card, where: str) -> None:
    if not isinstance(mask, str) and mask.parts is not None and card.world != WORLD:
        raise UnsupportedByModel(f"{where}.mask.parts: no network finds parts in pictures of {card.name!r}.")
    if card.family in _OFF_GRID:
        raise UnsupportedByModel(f"{where}.mask: features of {card.family} do not lie where pixels are.")


def _onward(at: str, to: str, where: str) -> str:
    """The space after an operation in `to`."""
    if _WAY[to] < _WAY[at] or (at == "features" and to not in ("w", "w+")):
        raise UnsupportedByModel(f"{where} acts in {to!r}, and {at!r} does not lead there.")
    return at if _WAY[to] == _WAY[at] else to
