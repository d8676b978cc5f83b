"""The chart, rendered once for all tests."""

import pytest

from tests.deploy.given import SETS, Object, rendered, values_of


@pytest.fixture(scope="session")
def chart() -> dict[str, list[Object]]:
    """The objects of each set of values in helm/ganserve/ci."""
    pytest.importorskip("helm_python", reason="helm-python-sdk is not installed")
    answers = rendered([values_of(name) for name in SETS])
    for name, answer in zip(SETS, answers, strict=True):
        assert "error" not in answer, f"{name}: {answer['error']}"
    return {name: answer["objects"] for name, answer in zip(SETS, answers, strict=True)}


@pytest.fixture(params=SETS)
def objects(request: pytest.FixtureRequest, chart: dict[str, list[Object]]) -> list[Object]:
    """The objects of one set of values; a test that asks for them runs for every set."""
    found = chart[request.param]
    assert found
    return found
