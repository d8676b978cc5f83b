"""Sets of directions that a tenant added to a model, shipped or imported."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, insert, select

from jobs.errors import Conflict, NotFound
from jobs.store.database import now, upsert
from jobs.store.quota import stored
from jobs.store.rows import DirectionSetRow
from jobs.store.tables import direction_sets as sets
from jobs.store.tables import removals


def put_directions(connection: Connection, tenant: str, found: DirectionSetRow) -> None:
    """Raises Conflict `name_taken` if the set's name, or that of a direction in it, belongs to another."""
    names = {entry["name"] for entry in found.listing}
    for other in list_directions(connection, tenant, found.model):
        taken = names & {entry["name"] for entry in other.listing}
        if other.name == found.name or taken:
            name = min(taken, default=found.name)
            raise Conflict(f"the name {name!r} belongs to the set {other.name!r}", code="name_taken")
    values = vars(found) | {"tenant": tenant, "created_at": now()}
    statement = upsert(connection, sets).values(values).on_conflict_do_nothing().returning(sets.c.tenant)
    if connection.execute(statement).first() is None:  # another transaction was faster
        raise Conflict(f"the name {found.name!r} belongs to another set", code="name_taken")
    stored(connection, {tenant: found.size_bytes})


def refuse_name(connection: Connection, tenant: str, model: str, name: str) -> None:
    """Raises Conflict `name_taken` if the tenant has a set of that name."""
    if connection.execute(select(sets.c.name).where(_is(tenant, model, name))).first() is not None:
        raise Conflict(f"the model {model!r} has a set {name!r} already", code="name_taken")


def list_directions(connection: Connection, tenant: str, model: str | None) -> list[DirectionSetRow]:
    """By name; of all models without one."""
    rows = connection.execute(_OF_ALL if model is None else _OF_ONE, {"of": tenant, "for": model})
    return [_row(row) for row in rows]


_OF_ALL = select(sets).where(sets.c.tenant == bindparam("of")).order_by(sets.c.model, sets.c.name)
_OF_ONE = _OF_ALL.where(sets.c.model == bindparam("for"))


def get_directions(connection: Connection, tenant: str, model: str, name: str) -> DirectionSetRow:
    row = connection.execute(select(sets).where(_is(tenant, model, name))).one_or_none()
    if row is None:
        raise NotFound(f"there is no set {name!r} of the model {model!r}")
    return _row(row)


def delete_directions(connection: Connection, tenant: str, model: str, name: str) -> None:
    """The reaper removes its files."""
    gone = connection.execute(delete(sets).where(_is(tenant, model, name)).returning(sets)).one_or_none()
    if gone is None:
        raise NotFound(f"there is no set {name!r} of the model {model!r}")
    connection.execute(insert(removals).values(tenant=tenant, prefix=gone.prefix, created_at=now()))
    stored(connection, {tenant: -gone.size_bytes})


def _is(tenant: str, model: str, name: str) -> ColumnElement[bool]:
    return (sets.c.tenant == tenant) & (sets.c.model == model) & (sets.c.name == name)


def _row(row: Row[Any]) -> DirectionSetRow:
    return DirectionSetRow(**{name: value for name, value in row._mapping.items() if name != "tenant"})
