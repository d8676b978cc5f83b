"""The reference pages cannot rot: every setting, field of a job and metric is on its page, and no other."""

import re
from pathlib import Path

import pytest

from jobs import schemas
from jobs.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
INPUTS = {
    "generate": schemas.GenerateInput,
    "invert": schemas.InvertInput,
    "edit": schemas.EditInput,
    "import": schemas.ImportInput,
    "output": schemas.OutputOptions,
}


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_setting_is_documented_and_no_other():
    documented = set(re.findall(r"`(GANSERVE_[A-Z0-9_]+)`", page("settings.md")))

    assert documented == {PREFIX + name.upper() for name in Settings.model_fields}


def test_every_kind_of_job_has_a_section():
    titles = re.findall(r"^## (.+)$", page("jobs.md"), flags=re.MULTILINE)

    assert set(titles) == {kind.value for kind in schemas.Kind} | {"output"}


@pytest.mark.parametrize("title", INPUTS)
def test_every_input_of_a_job_is_documented(title):
    fields = {field.alias or name for name, field in INPUTS[title].model_fields.items()}
    named = set(re.findall(r"`([a-z0-9_]+)`", section(page("jobs.md"), title)))

    assert fields <= named


def test_every_field_around_the_input_is_documented():
    envelope = page("jobs.md").split("\n## ")[0]

    assert set(schemas.GenerateRequest.model_fields) <= set(re.findall(r"`([a-z0-9_]+)`", envelope))


def test_every_metric_is_documented_and_no_other():
    sources = (ROOT / "api" / "metrics.py", ROOT / "workers" / "metrics.py")
    kinds = r"(Counter|Gauge|Histogram|GaugeMetricFamily)\(\s*\"(ganserve_[a-z_]+)\""
    declared = {
        name.removesuffix("_total") + ("_total" if kind == "Counter" else "")
        for source in sources
        for kind, name in re.findall(kinds, source.read_text())
    }
    documented = set(re.findall(r"^\| `(ganserve_[a-z_]+)`", page("metrics.md"), flags=re.MULTILINE))

    assert documented == declared


def test_the_readme_shows_pictures_and_pages_that_exist():
    readme = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", readme) if "://" not in link]

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
