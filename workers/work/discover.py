"""discover: sets found in a model by a method of `workers.work.discovery`, or read from a file of another
project, made the tenant's.

Whatever the method, directions are measured and named in the same way (`workers.work.direction_notes`), and
so are flows (`workers.work.flow_notes`).
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from generative.editing.attribute_flow import AttributeFlow
from generative.editing.direction import Direction
from generative.editing.files import Member, save_directions
from generative.editing.unit_table import UnitTable
from jobs.blobs import directions_prefix
from jobs.discovery import (
    MAX_DIRECTIONS,
    AttfindInput,
    DirectionsImport,
    DissectInput,
    EigenganInput,
    GanspaceFeaturesInput,
    GanspaceInput,
    HessianInput,
    HiganInput,
    InterfaceganInput,
    SefaInput,
    StyleflowInput,
    StylespaceInput,
    StylespaceLocalInput,
)
from jobs.errors import Conflict, LimitExceeded
from jobs.store import DirectionSetRow
from workers import encode
from workers.job import Result
from workers.models import LoadedModel
from workers.work.direction_notes import Notes, put_report, take_notes, trusted
from workers.work.discovery import (
    attfind,
    dissect,
    eigengan,
    from_file,
    ganspace,
    ganspace_features,
    hessian,
    higan,
    interfacegan,
    sefa,
    styleflow,
    stylespace,
    stylespace_local,
)
from workers.work.discovery.samples import FOUND, Job
from workers.work.flow_notes import take_flow_notes

Found = Member | Notes[UnitTable]
"""What methods give: with notes, if those need what the method alone knows."""

_FIND: dict[type, Callable[[Job, LoadedModel], Sequence[Found]]] = {
    SefaInput: sefa.find,
    GanspaceInput: ganspace.find,
    GanspaceFeaturesInput: ganspace_features.find,
    InterfaceganInput: interfacegan.find,
    StylespaceInput: stylespace.find,
    StylespaceLocalInput: stylespace_local.find,
    AttfindInput: attfind.find,
    StyleflowInput: styleflow.find,
    HiganInput: higan.find,
    HessianInput: hessian.find,
    EigenganInput: eigengan.find,
    DissectInput: dissect.find,
    DirectionsImport: from_file.find,
}


def discover(job: Job) -> Result:
    wanted, model = job.request.input, job.model()
    _refuse_names({wanted.name}, model)  # before anything is computed
    found = _FIND[type(wanted)](job, model)
    if len(found) > MAX_DIRECTIONS:
        raise LimitExceeded(f"{len(found)} directions; a set has at most {MAX_DIRECTIONS}")
    _refuse_names({item.member.name if isinstance(item, Notes) else item.name for item in found}, model)
    notes = [_with_provenance(note, job) for note in _noted(job, model, found)]
    job.found = _stored(job, model, notes)
    measured = [note.entry for note in notes if note.entry]
    return {"set": wanted.name, "count": len(found), "readable": trusted(model) != (), "directions": measured}


def _refuse_names(names: set[str], model: LoadedModel) -> None:
    if taken := names & {*model.directions, *model.flows, *model.units}:
        raise Conflict(f"the model has a direction {min(taken)!r} already", code="name_taken")


def _noted(job: Job, model: LoadedModel, found: Sequence[Found]) -> list[Notes[Any]]:
    """All that was found, measured. A set holds members of one type."""
    directions = [item for item in found if isinstance(item, Direction)]
    if directions:
        notes = take_notes(job, model, directions, FOUND)
        put_report(job, model, notes)
        return [*notes]
    flows = [item for item in found if isinstance(item, AttributeFlow)]
    measured = [item for item in found if isinstance(item, Notes)]
    return [*(take_flow_notes(job, model, flow, FOUND) for flow in flows), *measured]


def _with_provenance(note: Notes[Any], job: Job) -> Notes[Any]:
    wanted = job.request.input.model_dump(mode="json", exclude={"upload", "name"}, exclude_none=True)
    added = {"input": wanted, "job": job.claim.job_id}
    return replace(note, member=replace(note.member, provenance=note.member.provenance | added))


def _stored(job: Job, model: LoadedModel, notes: Sequence[Notes[Any]]) -> DirectionSetRow:
    wanted = job.request.input
    prefix = directions_prefix(job.tenant, model.name, wanted.name, job.claim.job_id)
    members = [note.member for note in notes]
    size = 0
    with tempfile.TemporaryDirectory(prefix="directions-") as place:
        save_directions(Path(place), wanted.name, members[0].method, members)
        for path in sorted((Path(place) / "directions").iterdir()):
            job.context.blobs.write(prefix + path.name, path, media_type="application/octet-stream")
            size += path.stat().st_size
        record = json.loads((Path(place) / "directions" / f"{wanted.name}.json").read_text())
    for note in notes:
        if note.picture is not None:
            body = encode.png(note.picture, "{}")
            job.context.blobs.write(prefix + _picture(note), body, media_type=encode.MEDIA_TYPES["png"])
            size += len(body)
    listing = [
        {"method": record["method"], "strip": None if note.picture is None else _picture(note)}
        | entry
        | note.entry
        for entry, note in zip(record["directions"], notes, strict=True)
    ]
    return DirectionSetRow(model.name, wanted.name, model.sha256, prefix, size, listing)


def _picture(note: Notes[Any]) -> str:
    return f"{note.member.name}.png"
