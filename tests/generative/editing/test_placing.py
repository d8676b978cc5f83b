"""Where edits arrive, against the official codes of InterFaceGAN, encoder4editing and the Hessian penalty."""

import torch

from generative.editing.direction import Direction
from generative.editing.placing import axis, to_boundary, to_coordinate
from generative.spaces import Space
from tests.generative.discovery.vectors import Vectors, rel


def test_distances_to_a_boundary_agree_with_the_official_code():
    stored = Vectors("interfacegan", "linear_interpolate")
    boundary = Direction("smile", Space.W, stored["boundary"][0], unit="distance")
    ours = torch.cat([to_boundary(stored["code"], boundary, float(d)) for d in torch.linspace(-3, 3, 10)])
    assert rel(ours, stored["out_default"]) < 1e-6


def test_each_layer_that_moves_arrives_at_the_distance():
    rng = torch.Generator().manual_seed(0)
    ws, normal = torch.randn(2, 4, 8, generator=rng), torch.randn(8, generator=rng)
    moved = to_boundary(ws, Direction("a", Space.W, normal), 1.5, (0, 2))
    along = moved @ (normal / normal.norm())
    torch.testing.assert_close(along[:, [0, 2]], torch.full((2, 2), 1.5))
    assert torch.equal(moved[:, [1, 3]], ws[:, [1, 3]])


def test_coordinates_along_a_component_agree_with_the_official_code():
    stored = Vectors("ganspace", "e4e_edit")
    edited = [
        to_coordinate(
            w[None],
            Direction(
                "c",
                Space.W,
                stored["pca_comp_used"][i, 0],
                unit="sigma",
                sigma=float(stored["pca_std_used"][i]),
            ),
            float(strength),
            stored["pca_mean"][0],
            range(start, end),
        )[0]
        for w in stored["w"]
        for i, (_, start, end, strength) in enumerate(stored["edits"].tolist())
    ]
    torch.testing.assert_close(torch.stack(edited), stored["edited"], rtol=0, atol=1e-4)
    stored.assert_all_read()


def test_coordinates_in_z_agree_with_the_official_paths_along_learned_directions():
    stored = Vectors("hessian_penalty", "batch_directions")
    ours = [
        to_coordinate(stored["z"], Direction("q", Space.Z, q), float(size * step))
        for q, size in zip(stored["Q"], stored["path_sizes"], strict=True)
        for step in stored["step_vals"]
    ]
    expected = stored["z_out"].reshape(4, 3, 5, 10).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(torch.stack(ours), expected, rtol=0, atol=1e-5)


def test_going_to_a_coordinate_twice_is_going_once():
    z = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    dimension = Direction("d", Space.Z, axis(2, 6))
    once = to_coordinate(z, dimension, 4.5)
    assert once[:, 2].tolist() == [4.5] * 3 and torch.equal(once[:, 3:], z[:, 3:])
    torch.testing.assert_close(to_coordinate(once, dimension, 4.5), once)
