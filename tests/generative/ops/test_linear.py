import pytest
import torch
import torch.nn.functional as F

from generative.ops.linear import LEAST, linear


@pytest.mark.parametrize("N", range(1, LEAST))
def test_few_rows_have_the_bits_that_they_have_among_more(N):
    rng = torch.Generator().manual_seed(0)
    x, weight = torch.randn(LEAST, 128, generator=rng), torch.randn(160, 128, generator=rng)
    bias = torch.randn(160, generator=rng)
    together = linear(x, weight, bias)
    assert torch.equal(linear(x[:N].clone(), weight, bias), together[:N])
    torch.testing.assert_close(together, F.linear(x, weight, bias))


def test_few_rows_have_the_derivatives_of_a_product():
    x, weight = (torch.randn(n, 5, dtype=torch.float64, requires_grad=True) for n in (2, 7))
    assert torch.autograd.gradcheck(linear, (x, weight))
