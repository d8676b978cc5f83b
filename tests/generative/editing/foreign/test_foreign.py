import pickle

import numpy as np
import pytest
import torch

from generative.checkpoints.errors import CheckpointError
from generative.discovery.hessian_penalty import orthonormal
from generative.discovery.sefa import sefa_directions
from generative.editing.direction import apply
from generative.editing.foreign import FORMATS, Target, read_directions
from generative.editing.foreign.opened import open_file
from generative.editing.foreign.style_files import (
    read_channel_directions,
    read_region_shares,
    read_style_statistics,
)
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.spaces import Space

from .files import SMALL, ask, boundary_file, cache, npy, npz, pt, saved_direction

UNIT = np.array([[0.6, 0.8, 0.0, 0.0]])


def refusal(content, **asked):
    with pytest.raises(CheckpointError) as error:
        read_directions(content, ask(**asked))
    return error.value


def test_a_unit_vector_in_a_row_is_the_normal_of_a_boundary():
    [found] = read_directions(npy(UNIT), ask(space="w"))
    assert found.method == "interfacegan"
    assert (found.name, found.space, found.unit, found.layers) == ("smile", Space.W, "distance", None)
    moved = apply(torch.ones(1, 4), found, 3.0)
    assert float((moved @ found.vector).squeeze()) == pytest.approx(3)


@pytest.mark.parametrize("array", [UNIT[0], 2 * UNIT])
def test_other_vectors_are_added_as_they_are(array):
    [found] = read_directions(npy(array), ask(space="w"))
    assert found.unit == "raw"
    torch.testing.assert_close(
        apply(torch.zeros(1, 4), found, 2.0)[0], torch.tensor(2 * array).float().flatten()
    )


def test_tensors_are_read_from_both_containers_of_torch():
    for old in (False, True):
        [found] = read_directions(pt(torch.arange(4.0)[None], old), ask(space="w"))
        assert found.vector.tolist() == [0, 1, 2, 3]
    [found] = read_directions(pt(torch.nn.Parameter(torch.ones(1, 6, 4))), ask())
    assert found.space is Space.W_PLUS and found.vector.shape == (6, 4)


def test_where_z_and_w_are_alike_the_caller_has_to_say_which():
    alike = Target(4, 4, 6)
    assert refusal(npy(UNIT), target=alike).code == "bad_config"
    assert read_directions(npy(UNIT), ask(target=alike, space="z"))[0].space is Space.Z
    assert read_directions(npy(UNIT), ask(target=SMALL))[0].space is Space.W
    assert read_directions(npy(np.ones(5, np.float32)), ask(target=SMALL))[0].space is Space.Z
    assert read_directions(npy(UNIT), ask(target=Target(4)))[0].space is Space.Z


def test_the_target_of_a_generator_is_its_latents():
    config = StyleGAN2Config(
        img_resolution=16, z_dim=5, w_dim=4, mapping_layers=1, channel_base=64, channel_max=4
    )
    assert Target.of(Generator(config)) == SMALL


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_higan_s_boundaries_bring_their_layers(protocol):
    [found] = read_directions(boundary_file(UNIT, "1-2,5", protocol), ask())
    assert (found.space, found.layers, found.unit, found.method) == (Space.W, (1, 2, 5), "raw", "higan")
    moved = apply(torch.zeros(1, 6, 4), found, 1.0)
    assert [bool(m.any()) for m in moved[0]] == [False, True, True, False, False, True]


def test_idinvert_s_boundaries_have_a_vector_for_each_layer():
    vectors = np.arange(24, dtype=np.float32).reshape(1, 6, 4)
    [found] = read_directions(boundary_file(vectors, [0, 1]), ask())
    assert (found.space, found.layers, found.method) == (Space.W_PLUS, (0, 1), "idinvert")
    assert torch.equal(found.vector, torch.from_numpy(vectors[0]))
    assert refusal(boundary_file(vectors[:, :5], [0, 1])).code == "wrong_shapes"


@pytest.mark.parametrize("packed", [False, True])
def test_a_decomposition_of_w_has_its_standard_deviations(packed):
    found = read_directions(npz(packed, **cache(stdev=0.5)), ask("pc"))
    assert [d.name for d in found] == ["pc_0", "pc_1", "pc_2"]
    assert all(d.space is Space.W and d.unit == "sigma" and d.sigma == 0.5 for d in found)
    assert found[1].provenance["share_of_variance"] == pytest.approx(1 / 3)
    assert apply(torch.zeros(1, 4), found[2], 2.0)[0].tolist() == [0, 0, 1, 0]


def test_a_decomposition_of_activations_has_directions_of_z():
    axes = np.eye(5, dtype=np.float32)[:2, None]
    arrays = cache(lat_comp=axes, lat_stdev=np.ones(2, np.float32), act_comp=np.ones((2, 1, 8, 3, 3)))
    found = read_directions(npz(**arrays | {"var_ratio": np.ones(2, np.float32)}), ask())
    assert [d.space for d in found] == [Space.Z, Space.Z]


def test_a_saved_direction_brings_layers_range_and_description():
    [found] = read_directions(saved_direction(), ask("light"))
    assert (found.name, found.layers, found.range) == ("light", (1, 2), (-2.5, 2.5))
    assert (found.unit, found.sigma, found.description) == ("sigma", 1.25, "Light direction")
    [cut] = read_directions(saved_direction(edit_start=0, edit_end=18), ask())
    assert cut.layers == (0, 1, 2, 3, 4, 5)
    [of_z] = read_directions(
        saved_direction(latent_space="Z", lat_comp=np.ones((1, 5))), ask(target=Target(5))
    )
    assert of_z.space is Space.Z and of_z.layers is None
    assert "activations" in str(refusal(saved_direction(edit_type="activation")))


def test_the_components_of_the_encoders_are_those_of_w():
    content = pt({"mean": torch.zeros(1, 4), "comp": torch.eye(4)[:, None], "std": torch.arange(1.0, 5.0)})
    found = read_directions(content, ask("pca"))
    assert [d.sigma for d in found] == [1, 2, 3, 4] and found[3].vector.tolist() == [0, 0, 0, 1]


def test_rosinality_s_factors_are_the_columns():
    weights = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    eigvec = torch.linalg.svd(weights).Vh.T
    found = read_directions(pt({"ckpt": "stylegan2.pt", "eigvec": eigvec}), ask("factor"))
    ours, _ = sefa_directions([weights / weights.norm(dim=1, keepdim=True)], 4)
    assert len(found) == 4 and abs(float(found[0].vector @ eigvec[:, 0])) > 1 - 1e-5
    assert ours.shape == (4, 4)


def test_matrices_of_the_hessian_penalty_become_orthonormal_directions_of_z():
    A = 20 * torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    found = read_directions(pt(A), ask("hessian"))
    torch.testing.assert_close(torch.stack([d.vector for d in found]), orthonormal(A))
    assert {d.space for d in found} == {Space.Z} and found[4].name == "hessian_4"


def test_a_matrix_for_a_part_of_z_needs_to_be_told_which():
    content = pt(2 * torch.eye(2))
    assert "say for which" in str(refusal(content))
    found = read_directions(content, ask(first=3))
    assert [d.vector.tolist() for d in found] == [[0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]
    assert refusal(content, first=4).code == "wrong_shapes"
    assert refusal(pt(torch.eye(7))).code == "wrong_shapes"


@pytest.mark.parametrize("root, what", [
    ({"X_mean": 0, "X_comp": 0, "X_stdev": 0, "X_var_ratio": 0}, "P space"),
    ({"mean": torch.ones(4), "std": torch.ones(4)}, "PULSE"),
    ({"chain.0.weight": torch.ones(4), "chain.1.odefunc.diffeq.layers.0._layer.weight": torch.ones(3, 4)},
     "StyleFlow"),
])  # fmt: skip
def test_files_of_other_things_are_refused_by_name(root, what):
    error = refusal(pt(root))
    assert error.code == "unsupported_format" and what in str(error)


def test_style_statistics_are_read_for_the_layers_of_the_model():
    means, stds = [np.zeros(3), np.ones(2)], [np.ones(3), np.full(2, 0.5)]
    content = pickle.dumps([means, stds])
    found = read_style_statistics(content, (3, 2))
    assert [s.tolist() for s in found.std] == [[1, 1, 1], [0.5, 0.5]]
    assert "StyleSpace" in str(refusal(content))
    for widths in ((3,), (2, 3)):
        with pytest.raises(CheckpointError) as error:
            read_style_statistics(content, widths)
        assert error.value.code == "wrong_shapes"
    with pytest.raises(CheckpointError, match="below 0"):
        read_style_statistics(pickle.dumps([means, [-s for s in stds]]), (3, 2))
    with pytest.raises(CheckpointError, match="not the mean"):
        read_style_statistics(npy(UNIT), (3, 2))


def test_channel_directions_may_end_before_the_last_layer():
    assert read_channel_directions(npy(np.ones((5, 8), np.float32)), channels=6).shape == (5, 8)
    with pytest.raises(CheckpointError, match="7 style channels"):
        read_channel_directions(npy(np.ones((7, 8), np.float32)), channels=6)


def test_region_shares_are_read_for_the_layers_of_the_model():
    content = pickle.dumps([np.ones((3, 2)), np.ones((2, 2))])
    assert [t.shape for t in read_region_shares(content, (3, 2))] == [(3, 2), (2, 2)]
    with pytest.raises(CheckpointError, match="2 layers"):
        read_region_shares(pickle.dumps([np.ones((3, 2))]), (3, 2))


def test_at_most_one_format_recognises_a_file_whatever_it_holds():
    roots = [
        open_file(boundary_file(UNIT)), open_file(npz(**cache())), open_file(saved_direction()),
        open_file(pt({"mean": torch.zeros(1, 4), "comp": torch.eye(4)[:, None], "std": torch.ones(4)})),
        open_file(pt({"ckpt": "x", "eigvec": torch.eye(4)})), open_file(pickle.dumps([["a"], [np.ones(3)]])),
        open_file(pickle.dumps([np.ones((3, 2))])),
        open_file(pt({"mean": torch.ones(4), "std": torch.ones(4)})),
    ]  # fmt: skip
    for root in roots:
        assert sum(form.recognises(root) for form in FORMATS) == 1
    for root in (None, 3, "x", [], {}, {1: 2}, [[], []], [[1], 2], {"boundary": 1}, object()):
        assert sum(form.recognises(root) for form in FORMATS) == 0
