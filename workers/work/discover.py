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
from typing import Any, TypeVar

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

_FIND: dict[type, Callable[[Job, LoadedModel], Sequence[Member]]] = {
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
Found = TypeVar("Found", bound=Member)


def discover(job: Job) -> Result:
    wanted, model = job.request.input, job.model()
    if wanted.name in _taken(model):  # before anything is computed
        raise Conflict(f"the model has a direction {wanted.name!r} already", code="name_taken")
    found = [_with_provenance(member, job) for member in _FIND[type(wanted)](job, model)]
    if len(found) > MAX_DIRECTIONS:
        raise LimitExceeded(f"{len(found)} directions; a set has at most {MAX_DIRECTIONS}")
    if taken := {member.name for member in found} & _taken(model):
        raise Conflict(f"the model has a direction {min(taken)!r} already", code="name_taken")
    notes = _noted(job, model, found)
    job.found = _stored(job, model, notes)
    measured = [note.entry for note in notes if note.entry]
    return {"set": wanted.name, "count": len(found), "readable": trusted(model) != (), "directions": measured}


def _taken(model: LoadedModel) -> set[str]:
    return {*model.directions, *model.flows, *model.units}


def _with_provenance(member: Found, job: Job) -> Found:
    wanted = job.request.input.model_dump(mode="json", exclude={"upload", "name"}, exclude_none=True)
    return replace(member, provenance=member.provenance | {"input": wanted, "job": job.claim.job_id})


def _noted(job: Job, model: LoadedModel, found: Sequence[Member]) -> list[Notes[Any]]:
    """All that was found, measured. A set holds members of one type."""
    directions = [member for member in found if isinstance(member, Direction)]
    if directions:
        notes = take_notes(job, model, directions, FOUND)
        put_report(job, model, notes)
        return [*notes]
    tables = [member for member in found if isinstance(member, UnitTable)]
    if tables:  # measured where they are found
        return [Notes(table, {"name": table.name, "effects": table.effects}) for table in tables]
    flows = [member for member in found if isinstance(member, AttributeFlow)]
    return [take_flow_notes(job, model, flow, FOUND) for flow in flows]


def _stored(job: Job, model: LoadedModel, notes: Sequence[Notes[Any]]) -> DirectionSetRow:
    wanted = job.request.input
    prefix = directions_prefix(job.tenant, model.name, wanted.name, job.claim.job_id)
    members = [note.member for note in notes]
    with tempfile.TemporaryDirectory(prefix="directions-") as place:
        save_directions(Path(place), wanted.name, members[0].method, members)
        files = sorted((Path(place) / "directions").iterdir())
        for path in files:
            job.context.blobs.write(prefix + path.name, path, media_type="application/octet-stream")
        record = json.loads((Path(place) / "directions" / f"{wanted.name}.json").read_text())
        size = sum(path.stat().st_size for path in files)
    measured = {note.member.name: note.entry for note in notes}
    listing = [
        {"method": record["method"]} | entry | measured[entry["name"]] for entry in record["directions"]
    ]
    return DirectionSetRow(model.name, wanted.name, model.sha256, prefix, size, listing)
