"""What `ganserve up` gives its children."""

from pathlib import Path

from client.up import children_for


def test_each_child_has_a_port_of_its_own_for_operations(tmp_path: Path) -> None:
    children = children_for(tmp_path, {"GANSERVE_METRICS_PORT": "9464"})
    ports = {c.name: c.environment["GANSERVE_METRICS_PORT"] for c in children if c.name != "redis"}

    assert ports == {"gateway": "9464", "reaper": "9465", "dispatcher": "9466", "worker": "9467"}


def test_without_a_port_for_operations_no_child_has_one(tmp_path: Path) -> None:
    assert all("GANSERVE_METRICS_PORT" not in child.environment for child in children_for(tmp_path, {}))
