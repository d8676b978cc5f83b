import base64

import pytest

from api.cursors import LIFE_S, Cursors
from api.problems import HttpProblem

SCOPE = {"list": "jobs", "tenant": "default", "kind": None}
ROW = (1_700_000_000.125, "job_01ARZ3NDEKTSV4RRFFQ69G5FAV")


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def refused(cursors: Cursors, scope: dict[str, object], cursor: str) -> bool:
    try:
        cursors.read(scope, cursor)
    except HttpProblem as problem:
        assert problem.code == "bad_cursor"
        return True
    return False


def test_a_cursor_gives_its_row_back() -> None:
    cursors = Cursors(b"secret")
    assert cursors.read(SCOPE, cursors.make(SCOPE, ROW)) == ROW


def test_every_changed_character_is_refused() -> None:
    cursors = Cursors(b"secret")
    cursor = cursors.make(SCOPE, ROW)
    for i, old in enumerate(cursor):
        for new in "Aq_-":
            if new != old:
                assert refused(cursors, SCOPE, cursor[:i] + new + cursor[i + 1 :])


@pytest.mark.parametrize("key", ["list", "tenant", "kind"])
def test_another_list_tenant_or_filter_is_refused(key: str) -> None:
    cursors = Cursors(b"secret")
    assert refused(cursors, SCOPE | {key: "other"}, cursors.make(SCOPE, ROW))


def test_another_secret_is_refused() -> None:
    assert refused(Cursors(b"other"), SCOPE, Cursors(b"secret").make(SCOPE, ROW))


def test_a_cursor_lives_for_a_day() -> None:
    cursors = Cursors(b"secret", clock := Clock())
    cursor = cursors.make(SCOPE, ROW)
    clock.now += LIFE_S
    assert cursors.read(SCOPE, cursor) == ROW
    clock.now += 1
    assert refused(cursors, SCOPE, cursor)


@pytest.mark.parametrize("cursor", ["", "a", "é", "====", "a" * 513, base64.b64encode(b"\x80\x04.").decode()])
def test_garbage_is_refused(cursor: str) -> None:
    assert refused(Cursors(b"secret"), SCOPE, cursor)
