import pytest
import torch

from generative.discovery.hessian_penalty import draw_signs, edits, hessian_penalty, orthonormal

from .vectors import Vectors, rel


def test_penalties_and_gradients_agree_with_the_official_code():
    stored = Vectors("hessian_penalty", "penalty")

    def G(z):
        return torch.tanh(z @ stored["W1"]) @ stored["W2"]

    for k in (2, 4, 16):
        for epsilon in (0.1, 0.01):
            for reduction in ("max", "mean"):
                z = stored["z"].clone().requires_grad_()
                penalty = hessian_penalty(G, z, stored[f"dirs_k{k}"], epsilon, reduction)
                penalty.backward()
                case = f"k{k}_eps{epsilon}_{reduction}"
                assert rel(penalty.detach(), stored[f"single_{case}"]) < 1e-9
                assert rel(z.grad, stored[f"single_grad_z_{case}"]) < 1e-9
    assert set(stored) - stored.read == {"analytic_variance_per_output"}  # compared in the next test


def test_many_draws_reach_the_variance_that_the_hessian_has():
    """Var over signs of xᵀHx is twice the sum of squares off the diagonal of H."""
    stored = Vectors("hessian_penalty", "penalty")
    z = stored["z"]

    def G(z):
        return torch.tanh(z @ stored["W1"]) @ stored["W2"]

    expected = []
    for row in z:
        H = torch.stack([torch.autograd.functional.hessian(lambda x, o=o: G(x)[o], row) for o in range(7)])
        expected.append(2 * (H.square().sum(dim=(1, 2)) - H.diagonal(dim1=1, dim2=2).square().sum(dim=1)))
    torch.testing.assert_close(
        torch.stack(expected), stored["analytic_variance_per_output"], rtol=1e-9, atol=0
    )

    signs = draw_signs(4000, z, torch.Generator().manual_seed(0))
    found = hessian_penalty(G, z, signs, 1e-3, "mean")
    assert float(found) == pytest.approx(float(stored["analytic_variance_per_output"].mean()), rel=0.05)


def test_batches_of_edits_agree_with_the_official_code():
    stored = Vectors("hessian_penalty", "batch_directions")
    arguments = stored["z"], stored["Q"], stored["path_sizes"], stored["step_vals"]
    torch.testing.assert_close(edits(*arguments).flatten(0, 2), stored["z_out"], rtol=0, atol=1e-5)
    kept = edits(*arguments, start_at_zero=False).flatten(0, 2)
    torch.testing.assert_close(kept, stored["z_out_no_projection"], rtol=0, atol=1e-5)
    classes = stored["y"][None, :, None].expand(4, -1, 5, -1).flatten(0, 2)
    assert torch.equal(classes, stored["y_out"])
    stored.assert_all_read()


def test_a_network_whose_coordinates_act_alone_has_no_penalty():
    z = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    signs = draw_signs(8, z, torch.Generator().manual_seed(1))
    assert float(hessian_penalty(lambda z: z**3 + 2 * z.square(), z, signs)) < 1e-15
    assert float(hessian_penalty(lambda z: z[:, :1] * z[:, 1:2], z, signs)) > 0.1


def test_penalties_of_several_layers_are_added():
    z = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    signs = draw_signs(4, z, torch.Generator().manual_seed(1))
    layers = [lambda z: z.prod(dim=1), lambda z: z.square().sum(dim=1).square()]
    together = hessian_penalty(lambda z: [layer(z) for layer in layers], z, signs)
    torch.testing.assert_close(together, sum(hessian_penalty(layer, z, signs) for layer in layers))


def test_signs_are_plus_and_minus_one_and_follow_the_seed():
    z = torch.zeros(50, 4)
    signs = draw_signs(3, z, torch.Generator().manual_seed(5))
    assert signs.shape == (3, 50, 4) and set(signs.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(signs, draw_signs(3, z, torch.Generator().manual_seed(5)))


def test_one_draw_has_no_variance():
    with pytest.raises(ValueError, match="two draws"):
        hessian_penalty(lambda z: z, torch.zeros(1, 2), torch.ones(1, 1, 2))


def test_directions_become_orthonormal_and_the_first_keeps_its_way():
    A = torch.randn(5, 9, generator=torch.Generator().manual_seed(0)) * 3
    Q = orthonormal(A)
    torch.testing.assert_close(Q @ Q.T, torch.eye(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(Q[0], A[0] / A[0].norm())
    assert ((Q * A).sum(dim=1) > 0).all()
    torch.testing.assert_close(orthonormal(torch.ones(2, 2)).norm(dim=1), torch.ones(2))
