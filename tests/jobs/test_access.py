"""What a key looks like and what is kept of it."""

import base64
import hashlib
import hmac
import string

import pytest

from jobs.access import ALL_SCOPES, Scope, digest, granted, matches, new_key, read_key

PEPPER = b"pepper of the tests"


def test_a_key_has_its_parts_and_256_random_bits():
    keys = [new_key("live") for _ in range(50)]
    assert len({key.secret for key in keys}) == len({key.id for key in keys}) == 50
    for key in keys:
        assert key.text == f"sgk_live_{key.id}_{key.secret}"
        assert read_key(key.text) == key
        assert len(key.id) == 12 and len(key.secret) == 43
        assert set(key.id + key.secret) <= set(string.ascii_letters + string.digits)
        number = 0  # base 62, most significant digit first
        for digit in key.secret:
            number = 62 * number + (string.digits + string.ascii_uppercase + string.ascii_lowercase).index(
                digit
            )
        assert number < 2**256
    leading = {key.secret[0] for key in keys}
    assert len(leading) > 10  # no digit is always the same


@pytest.mark.parametrize("environment", ["", "LIVE", "a" * 17, "a_b", "é"])
def test_an_environment_is_small_letters_and_digits(environment):
    with pytest.raises(ValueError, match="environment"):
        new_key(environment)


@pytest.mark.parametrize(
    "change",
    [str.upper, str.strip, lambda t: t[:-1], lambda t: t + "0", lambda t: " " + t, lambda t: t + "\n",
     lambda t: t.replace("_", "-"), lambda t: t.replace("sgk", "gsk"), lambda t: "x" + t,
     lambda t: t[:-1] + "é", lambda t: t[:-1] + "\N{FULLWIDTH DIGIT ONE}"],
)  # fmt: skip
def test_only_the_exact_spelling_is_a_key(change):
    text = new_key("live").text
    assert change(text) == text or read_key(change(text)) is None


def test_what_is_kept_is_an_hmac_of_the_whole_key():
    key = new_key("live")
    expected = hmac.new(PEPPER, key.text.encode("ascii"), hashlib.sha256).hexdigest()
    assert digest(PEPPER, key) == expected
    assert matches(PEPPER, key, expected)
    assert not matches(b"another pepper", key, expected)
    assert not matches(PEPPER, key._replace(environment="test"), expected)
    assert not matches(PEPPER, new_key("live"), expected)
    assert not matches(PEPPER, key, "")
    assert key.secret not in expected and base64.b64encode(key.secret.encode()).decode() not in expected


def test_admin_is_every_scope():
    assert granted(["admin"]) == ALL_SCOPES
    assert granted(["jobs:read"]) == {Scope.JOBS_READ}
    with pytest.raises(ValueError):
        granted(["root"])
