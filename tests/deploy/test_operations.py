"""What docs/operations.md tells people to type and set exists."""

import importlib.util
import re
from pathlib import Path

import pytest

from jobs.settings import PREFIX, Settings
from tests.deploy.given import CHART, ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text()
NOTES = (CHART / "templates" / "NOTES.txt").read_text()


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([a-z_.]+[a-z])", PAGE + NOTES))))
def test_a_program_that_is_named_can_be_run(module):
    found = importlib.util.find_spec(module)

    assert found and found.origin
    assert '__name__ == "__main__"' in Path(found.origin).read_text()


def test_settings_that_are_named_exist():
    named = set(re.findall(r"GANSERVE_[A-Z_]+[A-Z]", PAGE))

    assert named <= {PREFIX + name.upper() for name in Settings.model_fields}


def test_links_lead_somewhere():
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", PAGE) if "://" not in link]

    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_values_that_are_named_are_values_of_the_chart():
    values = (CHART / "README.md").read_text()
    named = re.findall(r"`((?:api|worker|images|networkPolicy|redis|triton|monitoring)\.[A-Za-z.]+)`", PAGE)

    assert named
    for name in named:
        assert f"`{name}`" in values, name
