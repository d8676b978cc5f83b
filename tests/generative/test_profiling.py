"""`ganserve profile`: a trace and a table for each stage."""

import json
from pathlib import Path

import pytest

from generative import profiling
from generative.cards import About
from generative.store import save_model
from tests.families import tiny


@pytest.mark.parametrize(
    ("network", "stages"), [("stylegan2", ["mapping", "styles", "synthesis"]), ("dcgan", ["generator"])]
)
def test_each_stage_of_a_batch_gets_a_trace_and_a_table(
    network: str,
    stages: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # where no py-spy is
    save_model(tmp_path / "tiny", tiny(network), About(name="tiny"))
    out = tmp_path / "out"
    assert profiling.main(["tiny", "--repo", str(tmp_path), "--out", str(out), "--rows", "2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "tiny, 2 rows, torch on cpu"
    assert [line.split()[0] for line in said[1:]] == stages
    for stage in stages:
        events = json.loads((out / f"{stage}.json").read_text())["traceEvents"]
        assert any("conv" in event.get("name", "") or "addmm" in event.get("name", "") for event in events)
        assert "Self CPU" in (out / f"{stage}.txt").read_text()
