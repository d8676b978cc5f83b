import json
import sys

import cv2
import numpy as np
import pytest
import torch

from generative.pixels import to_uint8
from generative.worlds import __main__ as command
from generative.worlds.portraits import NAMES, PARTS, render


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["ganserve world", *arguments])
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    command.main()


def test_a_folder_holds_the_pictures_that_its_factors_render(tmp_path, monkeypatch):
    run(monkeypatch, "render", "--n", "2", "--seed", "5", "--size", "32", "--out", str(tmp_path))

    truth = json.loads((tmp_path / "truth.json").read_text())
    factors = torch.tensor([[p["factors"][name] for name in NAMES] for p in truth["portraits"]])
    again = render(factors, 32, truth=True)
    written = cv2.imread(str(tmp_path / "00001.png"))[..., ::-1]
    labels = cv2.imread(str(tmp_path / "00001_parts.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(written, to_uint8(again.image)[1].numpy())
    np.testing.assert_array_equal(labels, again.parts[1].numpy())
    assert truth["parts"] == list(PARTS)
    assert all(p["caption"].endswith(".") for p in truth["portraits"])


def test_one_file_holds_one_portrait(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="folder"):
        run(monkeypatch, "render", "--n", "2", "--out", str(tmp_path / "a.png"))
