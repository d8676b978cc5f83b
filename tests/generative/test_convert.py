"""The converter as the import job runs it: a process whose exit status and last line tell the story."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from generative.convert import REFUSED, main
from generative.editing.files import load_directions
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.spaces import Space
from generative.store import load_model

ROOT = Path(__file__).parents[2]
CONFIG = StyleGAN2Config(img_resolution=8, z_dim=4, w_dim=4, mapping_layers=1, channel_max=4)


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    state = Generator(CONFIG).state_dict()
    config = json.dumps({"img_resolution": 8, "z_dim": 4, "w_dim": 4, "mapping_layers": 1, "channel_max": 4})
    path = tmp_path / "upload"
    path.write_bytes(save(state, metadata={"config": config}))
    return path


def test_a_checkpoint_becomes_a_model_folder_and_the_card_is_printed(tmp_path, file, capsys):
    arguments = [str(file), str(tmp_path / "out"), "--name", "tiny", "--licence", "MIT", "--half"]
    assert main(arguments) == 0
    card = json.loads(capsys.readouterr().out)
    assert (card["name"], card["licence"], card["precision"]) == ("tiny", "MIT", "float16")
    assert card["provenance"]["format"] == "ganserve"
    assert load_model(tmp_path / "out")[1].sha256 == card["sha256"]


def test_inspecting_writes_nothing(tmp_path, file, capsys):
    before = sorted(tmp_path.iterdir())
    assert main(["inspect", str(file)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["architecture"]["img_resolution"] == 8
    assert found["parameters"] > 0
    assert sorted(tmp_path.iterdir()) == before


class Payload:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "generative.convert", *map(str, arguments)],
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_hostile_file_ends_with_a_code_and_without_a_canary(tmp_path):
    canary, hostile = tmp_path / "canary", tmp_path / "upload"
    hostile.write_bytes(pickle.dumps({"G_ema": Payload(canary)}))

    child = run(hostile, tmp_path / "out", "--name", "evil")

    assert child.returncode == REFUSED
    assert json.loads(child.stderr.splitlines()[-1])["code"] == "unsafe_pickle"
    assert child.stdout == ""
    assert not canary.exists()
    assert not (tmp_path / "out").exists()


def test_the_memory_limit_of_the_arguments_holds(tmp_path, file):
    child = run(file, tmp_path / "out", "--name", "tiny", "--memory-bytes", 2**20)
    assert child.returncode != 0
    assert not (tmp_path / "out" / "card.json").exists()


def test_a_foreign_file_of_directions_becomes_a_set(tmp_path, capsys):
    np.save(tmp_path / "pose.npy", np.full((1, 4), 0.5, np.float32))
    arguments = ["directions", str(tmp_path / "pose.npy"), str(tmp_path / "out"), "--name", "pose"]
    assert main([*arguments, "--z-dim", "4", "--w-dim", "4", "--num-ws", "4", "--space", "w"]) == 0
    found = load_directions(tmp_path / "out")["pose"]
    assert (found.space, found.vector.tolist()) == (Space.W, [0.5] * 4)

    assert main([*arguments, "--z-dim", "5", "--space", "z"]) == REFUSED
    assert json.loads(capsys.readouterr().err)["code"] == "wrong_shapes"
