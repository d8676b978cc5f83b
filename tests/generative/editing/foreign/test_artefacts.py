"""Every file that authors published: read as its numbers are, or refused as what it is."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from generative.checkpoints.errors import CheckpointError
from generative.editing.foreign import Request, Target, read_directions
from generative.editing.foreign.style_files import read_region_shares
from generative.spaces import Space

ARTEFACTS = Path(__file__).parents[5] / "shared" / "conformance" / "artefacts"
MANIFEST = json.loads((ARTEFACTS / "manifest.json").read_text()) if ARTEFACTS.exists() else []
#: what holds no direction, and a word of the reason
REFUSED = {
    "sefa/latent_codes/pggan": "no space",
    "sefa/latent_codes/stylegan": "shape",
    "StyleFlow/data/": "shape",
    "StyleSpace/npy/ffhq/semantic_top_32": "regions",
    "StyleSpace/npy/ffhq/label": "not a file of directions",
    "StyleCLIP/global_directions/data/ffhq/w_plus": "shape",
    "II2S/": "P space",
    "pulse/": "PULSE",
    "gandissect/netdissect/segmodel/object150_info": "not a file of directions",
    "gandissect/netdissect/segmodel/colors150": "floating-point",
}
CHUNKS = {"coarse": 0, "mid": 40, "fine": 80}
#: layers of the ws at 256, 512 and 1024 pixels
W_256, W_512, W_1024 = Target(512, 512, 14), Target(512, 512, 16), Target(512, 512, 18)


def request_for(file):
    """What a person who has the file knows about it."""
    folder, stem = file.split("/")[0], Path(file).stem
    if folder == "hessian_penalty":
        return Request(stem, Target(120), first=CHUNKS.get(stem.rpartition("_")[2]))
    if "pggan" in stem:
        return Request(stem, Target(512))
    if folder in ("higan", "idinvert_pytorch"):
        return Request(stem, W_256, Space.W if folder == "higan" else None)
    if "stylegan_cars" in file:
        return Request(stem, W_512)
    name = "light" if folder == "ganspace" and "Light" in stem else stem
    layered = "pose.pt" in file or "latent_directions" in file or "steerability" in file
    z_only = folder == "interfacegan" and not stem.endswith("_w_boundary")
    return Request(name.lower(), W_1024, None if layered else Space.Z if z_only else Space.W)


def numbers_of(file, content):
    """(K, ...) vectors by the libraries that wrote them, or None where those would run a pickle."""
    if file.endswith(".npy") and b"'|O'" not in content[:128]:
        return np.load(io.BytesIO(content), allow_pickle=False).astype(np.float32)
    if file.endswith(".pt"):
        value = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return (value["comp"] if isinstance(value, dict) else value).numpy()
    return None


@pytest.mark.skipif(not MANIFEST, reason="the files are not beside this repository")
def test_all_files_are_here():
    assert len(MANIFEST) == 135
    refused = [e["file"] for e in MANIFEST if any(e["file"].startswith(start) for start in REFUSED)]
    assert len(refused) == 14


@pytest.mark.parametrize("entry", MANIFEST, ids=[entry["file"] for entry in MANIFEST])
def test_a_published_file_is_read_or_refused_as_what_it_is(entry):
    file = entry["file"]
    content = (ARTEFACTS / file).read_bytes()
    reason = next((word for start, word in REFUSED.items() if file.startswith(start)), None)
    if reason is not None:
        with pytest.raises(CheckpointError, match=reason):
            read_directions(content, Request("x", W_1024 if "pggan" not in file else Target(512)))
        return

    found = read_directions(content, request_for(file))
    vectors = torch.stack([d.vector for d in found])
    assert vectors.isfinite().all()
    stored = numbers_of(file, content)
    if stored is None:
        return  # compared below
    if file.startswith("hessian_penalty"):
        assert len(found) == len(stored)
        torch.testing.assert_close(vectors @ vectors.T, torch.eye(len(found)), atol=1e-5, rtol=0)
        first = CHUNKS.get(Path(file).stem.rpartition("_")[2], 0)
        along = (vectors[:, first : first + len(found)] * torch.from_numpy(stored)).sum(dim=1)
        assert along[0] == pytest.approx(np.linalg.norm(stored[0]), rel=1e-5) and (along > 0).all()
    else:
        assert np.array_equal(vectors.numpy().reshape(stored.shape), stored)


@pytest.mark.parametrize("project", ["higan", "idinvert_pytorch"])
def test_boundaries_in_dictionaries_have_the_numbers_and_layers_of_their_plain_twins(project):
    if not MANIFEST:
        pytest.skip("the files are not beside this repository")
    with np.load(ARTEFACTS / f"plain_{project}_boundaries.npz") as archive:
        vectors = dict(archive)
    about = json.loads((ARTEFACTS / f"plain_{project}_boundaries.json").read_text())
    files = [e["file"] for e in MANIFEST if e["file"].startswith(project + "/")]
    assert len(files) == len(about) == len(vectors)
    for file in files:
        key = file.removeprefix(f"{project}/boundaries/").removesuffix(".npy")
        [found] = read_directions((ARTEFACTS / file).read_bytes(), request_for(file))
        assert torch.equal(
            found.vector, torch.from_numpy(vectors[key.replace("/", "__")][0].astype(np.float32))
        )
        layers = (about[key] or {}).get("manipulate_layers")
        expected = tuple(range(6, 12)) if layers == "6-11" else layers and tuple(layers)
        assert found.layers == expected


def test_the_saved_direction_of_ganspace_is_the_light():
    files = [e["file"] for e in MANIFEST if e["file"].endswith(".pkl")]
    if not files:
        pytest.skip("the files are not beside this repository")
    [found] = read_directions((ARTEFACTS / files[0]).read_bytes(), request_for(files[0]))
    assert (found.description, found.space, found.layers) == ("Light direction", Space.W, (8,))
    assert found.sigma == pytest.approx(1.0335018634796143) and found.range == pytest.approx((-2.8, 2.8))
    assert float(found.vector.norm()) == pytest.approx(1, abs=1e-5)


def test_the_regions_of_stylespace_are_read():
    path = ARTEFACTS / "StyleSpace" / "npy" / "ffhq" / "semantic_top_32"
    if not path.exists():
        pytest.skip("the files are not beside this repository")
    widths = [512] * 15 + [256] * 3 + [128] * 3 + [64] * 3 + [32] * 2
    shares = read_region_shares(path.read_bytes(), widths)
    assert sum(len(s) for s in shares) == 9088 and {s.shape[1] for s in shares} == {11}
    assert all(0 <= float(s.min()) and float(s.max()) <= 1 for s in shares)
