"""Tenants and keys, on both databases."""

import pytest
from sqlalchemy import select, update

from jobs.access import Scope, new_key
from jobs.errors import BadRequest, Conflict, NotFound
from jobs.store.access import TOUCH_S, Access
from jobs.store.quota import LIMITS, Quotas
from jobs.store.tables import keys

READ = (Scope.JOBS_READ,)


@pytest.fixture
def access(store):
    return Access(store.database, b"a pepper of the tests, long enough")


def test_a_new_key_is_found_by_its_id_and_told_from_a_forged_one(access):
    row, key = access.create_key("default", (Scope.JOBS_WRITE, Scope.JOBS_READ), name="ci")
    found = access.look_up(key.id)
    assert found.row == row and found.scopes == {Scope.JOBS_READ, Scope.JOBS_WRITE}
    assert (found.expired, found.revoked, found.suspended) == (False, False, False)
    assert access.holds_key(found, key)
    assert not access.holds_key(found, key._replace(secret=new_key("live").secret))
    assert access.look_up(new_key("live").id) is None
    assert not access.holds_key(None, key)


def test_the_database_never_sees_a_secret(access, store):
    _, key = access.create_key("default", READ)
    with store.database.read() as connection:
        stored = repr(connection.execute(select(keys)).all())
    assert key.id in stored and key.secret not in stored


def test_another_pepper_opens_nothing(access, store):
    _, key = access.create_key("default", READ)
    other = Access(store.database, b"another pepper, long enough as well")
    assert not other.holds_key(other.look_up(key.id), key)


def test_only_the_default_tenant_comes_of_itself(access):
    access.create_key("default", READ)
    with pytest.raises(NotFound):
        access.create_key("acme", READ)
    access.create_tenant("acme")
    access.create_key("acme", READ)
    assert [row.tenant for row in access.tenants()] == ["acme", "default"]
    with pytest.raises(Conflict):
        access.create_tenant("acme")


@pytest.mark.parametrize("name", ["", "A", "a b", "a/b", "-a", "a" * 64, "é", "a_b"])
def test_a_tenants_name_can_be_part_of_an_object_key(access, name):
    with pytest.raises(BadRequest):
        access.create_tenant(name)


def test_a_revoked_key_stays_revoked_since_then(access):
    _, key = access.create_key("default", READ)
    first = access.revoke(key.id).revoked_at
    assert access.revoke(key.id).revoked_at == first
    assert access.look_up(key.id).revoked
    with pytest.raises(NotFound):
        access.revoke("nope")


def test_a_key_expires_by_the_databases_clock(access, store):
    _, key = access.create_key("default", READ, life_s=100)
    assert not access.look_up(key.id).expired
    with store.database.write() as connection:
        connection.execute(update(keys).values(expires_at=keys.c.expires_at - 101))
    assert access.look_up(key.id).expired


def test_while_keys_overlap_both_are_good_and_then_the_new_one(access, store):
    old, key = access.create_key("default", READ, name="ci", environment="test", life_s=1000)
    new, successor = access.rotate(key.id, 60)
    assert (new.tenant, new.scopes, new.name, new.environment) == ("default", ("jobs:read",), "ci", "test")
    assert new.expires_at - new.created_at == pytest.approx(1000)  # it lives as long as the old one was to
    before = access.look_up(key.id)
    assert not before.expired and before.row.successor == new.id
    assert before.row.expires_at < old.expires_at
    with store.database.write() as connection:
        connection.execute(update(keys).where(keys.c.id == key.id).values(expires_at=keys.c.expires_at - 61))
    assert access.look_up(key.id).expired
    assert not access.look_up(successor.id).expired


def test_rotating_never_lengthens_a_life(access):
    _, key = access.create_key("default", READ, life_s=10)
    end = access.look_up(key.id).row.expires_at
    access.rotate(key.id, 3600)
    assert access.look_up(key.id).row.expires_at == end


def test_only_a_good_key_is_rotated_and_once(access):
    _, key = access.create_key("default", READ)
    access.rotate(key.id, 60)
    _, revoked = access.create_key("default", READ)
    access.revoke(revoked.id)
    _, expired = access.create_key("default", READ, life_s=-1)
    for bad in (key, revoked, expired):
        with pytest.raises(Conflict):
            access.rotate(bad.id, 60)
    with pytest.raises(NotFound):
        access.rotate("nope", 60)
    assert len(access.keys()) == 4


def test_suspending_a_tenant_suspends_its_keys_and_no_others(access):
    access.create_tenant("acme")
    _, theirs = access.create_key("acme", READ)
    _, mine = access.create_key("default", READ)
    access.suspend("acme")
    assert access.look_up(theirs.id).suspended and not access.look_up(mine.id).suspended
    access.resume("acme")
    assert not access.look_up(theirs.id).suspended
    with pytest.raises(NotFound):
        access.suspend("nope")


def test_the_last_use_is_written_once_a_minute(access, store):
    _, key = access.create_key("default", READ)
    assert access.look_up(key.id).stale
    access.touch(key.id)
    first = access.look_up(key.id)
    assert not first.stale and first.row.last_used_at is not None
    access.touch(key.id)
    assert access.look_up(key.id).row.last_used_at == first.row.last_used_at
    with store.database.write() as connection:
        connection.execute(update(keys).values(last_used_at=keys.c.last_used_at - TOUCH_S - 1))
    assert access.look_up(key.id).stale


def test_a_tenants_own_limits_come_first(access):
    access.create_tenant("acme", {"max_jobs": 5})
    assert access.set_limits("acme", {"max_bytes": 10**12}).quotas == Quotas(max_jobs=5, max_bytes=10**12)
    assert access.set_limits("acme", {"max_jobs": None}).quotas == Quotas(max_bytes=10**12)
    settings = Quotas(max_jobs=9, max_bytes=1)
    assert Quotas(max_bytes=10**12).or_else(settings) == Quotas(max_jobs=9, max_bytes=10**12)
    with pytest.raises(BadRequest, match="max_nothing"):
        access.set_limits("acme", {"max_nothing": 1})
    with pytest.raises(BadRequest, match="negative"):
        access.set_limits("acme", {"max_jobs": -1})
    with pytest.raises(NotFound):
        access.set_limits("nope", {"max_jobs": 1})
    assert all(name.startswith("max_") for name in LIMITS)


def test_a_key_needs_a_scope(access):
    with pytest.raises(BadRequest):
        access.create_key("default", ())
