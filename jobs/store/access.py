"""Tenants and their API keys in the database: make, look up, revoke, rotate."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, literal, or_, select, update

from jobs.access import Key, Scope, digest, granted, matches, new_key
from jobs.errors import BadRequest, Conflict, NotFound
from jobs.settings import DEFAULT_TENANT
from jobs.store.database import Database, now, upsert
from jobs.store.quota import LIMITS, Quotas, quotas_of
from jobs.store.tables import keys, tenants

TOUCH_S = 60  # `last_used_at` is written at most so often
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True)
class TenantRow:
    tenant: str
    created_at: float
    suspended_at: float | None
    quotas: Quotas  # None where the settings decide


@dataclass(frozen=True)
class KeyRow:
    """All that is known of a key; the key itself is not."""

    tenant: str
    id: str
    environment: str
    name: str
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None
    successor: str | None


@dataclass(frozen=True)
class Lookup:
    """A key as it stands at the moment, by the database's clock."""

    row: KeyRow
    digest: str
    expired: bool
    revoked: bool
    suspended: bool  # its tenant
    stale: bool  # `last_used_at` should be written
    quotas: Quotas  # the tenant's own

    @property
    def scopes(self) -> frozenset[Scope]:
        return granted(self.row.scopes)


class Access:
    """Every method is synchronous, and raises `StoreUnavailable` when the database does not answer."""

    def __init__(self, database: Database, pepper: bytes) -> None:
        self._database, self._pepper = database, pepper

    # --- tenants -------------------------------------------------------------------------------------------

    def create_tenant(self, tenant: str, limits: Mapping[str, float | None] | None = None) -> TenantRow:
        """Raises Conflict `name_taken`, and BadRequest for a name that cannot be one."""
        if not _TENANT.fullmatch(tenant):
            raise BadRequest("a tenant's name is 1 to 63 of a-z, 0-9 and -, and does not begin with -")
        with self._database.write() as connection:
            if not _insert_tenant(connection, tenant):
                raise Conflict(f"there is a tenant {tenant!r} already", code="name_taken")
            _set_limits(connection, tenant, limits or {})
            return _tenant(connection, tenant)

    def tenants(self) -> Sequence[TenantRow]:
        with self._database.read() as connection:
            return [
                _tenant_row(row) for row in connection.execute(select(tenants).order_by(tenants.c.tenant))
            ]

    def set_limits(self, tenant: str, limits: Mapping[str, float | None]) -> TenantRow:
        """`limits`: some of `quota.LIMITS`; None leaves that one to the settings. Raises NotFound."""
        with self._database.write() as connection:
            _set_limits(connection, tenant, limits)
            return _tenant(connection, tenant)

    def suspend(self, tenant: str) -> TenantRow:
        """Refuse all its keys from now on. What is queued still runs. Raises NotFound."""
        with self._database.write() as connection:
            at = func.coalesce(tenants.c.suspended_at, now())
            connection.execute(update(tenants).where(tenants.c.tenant == tenant).values(suspended_at=at))
            return _tenant(connection, tenant)

    def resume(self, tenant: str) -> TenantRow:
        with self._database.write() as connection:
            connection.execute(update(tenants).where(tenants.c.tenant == tenant).values(suspended_at=None))
            return _tenant(connection, tenant)

    # --- keys ----------------------------------------------------------------------------------------------

    def create_key(
        self,
        tenant: str,
        scopes: Collection[Scope],
        *,
        name: str = "",
        environment: str = "live",
        life_s: float | None = None,
    ) -> tuple[KeyRow, Key]:
        """A new key; nobody can tell it a second time. Raises NotFound; the tenant `default` is made."""
        if not scopes:
            raise BadRequest("a key needs at least one scope")
        with self._database.write() as connection:
            if tenant == DEFAULT_TENANT:
                _insert_tenant(connection, tenant)
            _tenant(connection, tenant)
            return self._insert(connection, tenant, sorted(scopes), name, environment, life_s)

    def keys(self, tenant: str | None = None) -> Sequence[KeyRow]:
        """Of one tenant or of all, oldest first."""
        wanted = select(keys).order_by(keys.c.tenant, keys.c.created_at)
        if tenant is not None:
            wanted = wanted.where(keys.c.tenant == tenant)
        with self._database.read() as connection:
            return [_key_row(row) for row in connection.execute(wanted)]

    def revoke(self, key_id: str) -> KeyRow:
        """End a key now; gateways notice within seconds. Twice is fine. Raises NotFound."""
        with self._database.write() as connection:
            at = func.coalesce(keys.c.revoked_at, now())
            connection.execute(update(keys).where(keys.c.id == key_id).values(revoked_at=at))
            return _key(connection, key_id)

    def rotate(self, key_id: str, overlap_s: float) -> tuple[KeyRow, Key]:
        """A new key like this one, which itself ends in `overlap_s`. Raises NotFound and Conflict."""
        with self._database.write() as connection:
            old = _key(connection, key_id)
            alive = and_(keys.c.revoked_at.is_(None), keys.c.successor.is_(None), _unexpired())
            end = now() + overlap_s
            earlier = or_(keys.c.expires_at.is_(None), keys.c.expires_at > end)
            if not connection.scalar(select(keys.c.id).where(keys.c.id == key_id, alive)):
                raise Conflict("only a key that is valid and has no successor can be rotated")
            life_s = None if old.expires_at is None else old.expires_at - old.created_at
            new, key = self._insert(connection, old.tenant, old.scopes, old.name, old.environment, life_s)
            mine = update(keys).where(keys.c.id == key_id)
            connection.execute(mine.where(earlier).values(expires_at=end))
            connection.execute(mine.values(successor=new.id))
            return new, key

    def look_up(self, key_id: str) -> Lookup | None:
        """The key of that id as it stands, valid or not; None when there is none."""
        stale = or_(keys.c.last_used_at.is_(None), keys.c.last_used_at < now() - TOUCH_S)
        wanted = select(
            keys,
            (~_unexpired()).label("expired"),
            stale.label("stale"),
            tenants.c.suspended_at,
            *(tenants.c[name] for name in LIMITS),
        ).join(tenants, tenants.c.tenant == keys.c.tenant)
        with self._database.read() as connection:
            row = connection.execute(wanted.where(keys.c.id == key_id)).one_or_none()
        if row is None:
            return None
        suspended, revoked = row.suspended_at is not None, row.revoked_at is not None
        return Lookup(
            _key_row(row), row.digest, bool(row.expired), revoked, suspended, bool(row.stale), quotas_of(row)
        )

    def holds_key(self, found: Lookup | None, key: Key) -> bool:
        """Whether `key` is the one that was looked up, and not only one with its id. None takes as long."""
        return matches(self._pepper, key, "" if found is None else found.digest)

    def touch(self, key_id: str) -> None:
        """The key is in use. At most one write a minute, however many callers there are."""
        old = or_(keys.c.last_used_at.is_(None), keys.c.last_used_at < now() - TOUCH_S)
        with self._database.write(durable=False) as connection:
            connection.execute(update(keys).where(keys.c.id == key_id, old).values(last_used_at=now()))

    def _insert(
        self,
        connection: Connection,
        tenant: str,
        scopes: Sequence[str],
        name: str,
        environment: str,
        life_s: float | None,
    ) -> tuple[KeyRow, Key]:
        key = new_key(environment)
        values = {
            "tenant": tenant,
            "id": key.id,
            "environment": environment,
            "name": name,
            "digest": digest(self._pepper, key),
            "scopes": [str(scope) for scope in scopes],
            "created_at": now(),
            "expires_at": None if life_s is None else now() + literal(life_s),
        }
        row = connection.execute(insert(keys).values(values).returning(keys)).one()
        return _key_row(row), key


def _unexpired() -> Any:
    return or_(keys.c.expires_at.is_(None), keys.c.expires_at > now())


def _insert_tenant(connection: Connection, tenant: str) -> bool:
    statement = upsert(connection, tenants).values(tenant=tenant, created_at=now())
    statement = statement.on_conflict_do_nothing().returning(tenants.c.tenant)
    return connection.execute(statement).first() is not None


def _set_limits(connection: Connection, tenant: str, limits: Mapping[str, float | None]) -> None:
    unknown = set(limits) - set(LIMITS)
    if unknown:
        raise BadRequest(f"there is no limit {unknown.pop()!r}; there are {', '.join(LIMITS)}")
    if any(limit is not None and limit < 0 for limit in limits.values()):
        raise BadRequest("a limit is not negative")
    if limits:
        connection.execute(update(tenants).where(tenants.c.tenant == tenant).values(limits))


def _tenant(connection: Connection, tenant: str) -> TenantRow:
    row = connection.execute(select(tenants).where(tenants.c.tenant == tenant)).one_or_none()
    if row is None:
        raise NotFound(f"there is no tenant {tenant!r}")
    return _tenant_row(row)


def _tenant_row(row: Row[Any]) -> TenantRow:
    return TenantRow(row.tenant, row.created_at, row.suspended_at, quotas_of(row))


def _key(connection: Connection, key_id: str) -> KeyRow:
    row = connection.execute(select(keys).where(keys.c.id == key_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no key {key_id!r}")
    return _key_row(row)


def _key_row(row: Row[Any]) -> KeyRow:
    names = KeyRow.__dataclass_fields__
    return KeyRow(**{name: row._mapping[name] for name in names} | {"scopes": tuple(row.scopes)})
