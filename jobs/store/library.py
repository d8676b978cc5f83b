"""Uploaded pictures and imported models."""

from typing import Any

from sqlalchemy import Connection, Row, Table, select

from jobs.errors import Conflict, NotFound
from jobs.store.database import now, upsert
from jobs.store.quota import stored
from jobs.store.rows import ImageRow, ModelRow
from jobs.store.tables import images, models


def put_image(connection: Connection, tenant: str, image: ImageRow) -> tuple[ImageRow, bool]:
    """The stored row, and whether it is new."""
    created = _insert(connection, images, tenant, image)
    if created:
        stored(connection, {tenant: image.size_bytes})
    return get_image(connection, tenant, image.id), created


def get_image(connection: Connection, tenant: str, image_id: str) -> ImageRow:
    wanted = (images.c.tenant == tenant) & (images.c.id == image_id)
    row = connection.execute(select(images).where(wanted)).one_or_none()
    if row is None:
        raise NotFound(f"there is no image {image_id!r}")
    return ImageRow(**_fields(row))


def put_model(connection: Connection, tenant: str, model: ModelRow) -> None:
    """Raises Conflict `name_taken` if the name belongs to another model; the same one again is fine."""
    if _insert(connection, models, tenant, model):
        stored(connection, {tenant: int(model.card.get("size_bytes", 0))})
    if get_model(connection, tenant, model.name).sha256 != model.sha256:
        raise Conflict(f"the name {model.name!r} belongs to another model", code="name_taken")


def get_model(connection: Connection, tenant: str, name: str) -> ModelRow:
    wanted = (models.c.tenant == tenant) & (models.c.name == name)
    row = connection.execute(select(models).where(wanted)).one_or_none()
    if row is None:
        raise NotFound(f"there is no imported model {name!r}")
    return ModelRow(**_fields(row))


def list_models(connection: Connection, tenant: str) -> list[ModelRow]:
    wanted = select(models).where(models.c.tenant == tenant).order_by(models.c.name)
    return [ModelRow(**_fields(row)) for row in connection.execute(wanted)]


def _insert(connection: Connection, table: Table, tenant: str, row: ImageRow | ModelRow) -> bool:
    values = vars(row) | {"tenant": tenant, "created_at": now()}
    statement = upsert(connection, table).values(values).on_conflict_do_nothing().returning(table.c.tenant)
    return connection.execute(statement).first() is not None


def _fields(row: Row[Any]) -> dict[str, Any]:
    return {name: value for name, value in row._mapping.items() if name != "tenant"}
