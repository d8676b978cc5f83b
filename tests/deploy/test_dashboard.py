"""The dashboard: made of its list of panels, which show metrics that there are, all of them."""

import importlib.util
import json
import subprocess
import sys

import yaml

from tests.deploy import metric_names
from tests.deploy.given import ROOT, only
from tests.deploy.test_alerts import LABELS_OF_A_SCRAPE, promtool, rules

FILE = ROOT / "deploy" / "grafana" / "ganserve.json"


def load():
    spec = importlib.util.spec_from_file_location("dashboard", FILE.with_name("dashboard.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def panels():
    return [panel for panel in json.loads(FILE.read_text())["panels"] if panel["type"] != "row"]


def expressions():
    return [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def test_the_file_is_made_of_the_list_of_panels():
    assert json.loads(FILE.read_text()) == load().dashboard(), "run: python deploy/grafana/dashboard.py"


def test_panels_do_not_overlap_and_stay_on_the_grid():
    taken = set()
    for panel in json.loads(FILE.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_panels_have_titles_and_numbers_of_their_own():
    found = json.loads(FILE.read_text())["panels"]

    assert len({panel["id"] for panel in found}) == len(found)
    titles = [panel["title"] for panel in found]
    assert len(set(titles)) == len(titles)


def test_panels_show_metrics_and_labels_that_there_are():
    documented = metric_names.documented()
    labels = set().union(*(labels for _, labels in documented.values())) | LABELS_OF_A_SCRAPE

    for title, expression in expressions():
        assert metric_names.used(expression), title
        assert metric_names.used(expression) <= metric_names.series(), title
        assert metric_names.labels_used(expression) <= labels, title


def test_every_metric_is_in_a_panel_scoped_to_the_chosen_namespace():
    for title, expression in expressions():
        for name in metric_names.used(expression):
            assert f'{name}{{namespace=~"$namespace"' in expression, title


def test_legends_name_labels_that_the_expression_keeps():
    for panel in panels():
        for target in panel["targets"]:
            legend = set(load().re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert legend <= metric_names.labels_used(target["expr"]) | {"instance"}, panel["title"]


def test_what_is_measured_is_shown_or_has_an_alert():
    """What nobody looks at need not be measured."""
    looked_at = [expression for _, expression in expressions()] + [rule["expr"] for rule in rules().values()]
    seen = set().union(*map(metric_names.used, looked_at))
    measured = {name for name in metric_names.documented() if name.startswith("ganserve_")}

    assert {name for name in measured if not any(series.startswith(name) for series in seen)} == set()


def test_prometheus_reads_every_expression(tmp_path):
    rules = [
        {"record": f"panel:{at}", "expr": expression.replace("$__rate_interval", "1m")}
        for at, (_, expression) in enumerate(expressions())
    ]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    done = promtool("check", "rules", path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_the_chart_brings_the_dashboard(chart):
    brought = only(chart["gpu"], "ConfigMap", "dashboard")["data"]["ganserve.json"]

    assert json.loads(brought) == json.loads(FILE.read_text())


def test_the_program_writes_the_file(tmp_path):
    copy = tmp_path / "dashboard.py"
    copy.write_text(FILE.with_name("dashboard.py").read_text())
    subprocess.run([sys.executable, copy], check=True)

    assert (tmp_path / "ganserve.json").read_text() == FILE.read_text()
