"""Units switched in hooks, against the official interventions."""

import torch
from torch.nn import functional as F

from generative.editing.units import switch
from tests.generative.discovery.vectors import Vectors, rel


def test_units_switched_off_to_values_and_in_a_region_agree_with_the_official_code():
    stored = Vectors("gandissect", "edit")
    x = F.conv2d(stored["x"], stored["param_layer4_weight"], stored["param_layer4_bias"], padding=1)

    def render(activations):
        return F.conv2d(activations.relu(), stored["param_out_weight"], stored["param_out_bias"], padding=1)

    nothing, off = torch.zeros(1, 5), torch.tensor([[1.0, 0, 0, 1, 0]])
    assert rel(render(switch(x, off, nothing)), stored["ablation_units_0_3"]) < 1e-5
    assert rel(render(switch(x, stored["partial_ablation"][None], nothing)), stored["partial_out"]) < 1e-5

    given = stored["insert_mask"]  # a mask for each unit: switched one after the other here
    for unit in range(5):
        amount = F.one_hot(torch.tensor([unit]), 5).float()
        x = switch(x, amount, stored["insert_values"][None], given[:, unit : unit + 1])
    assert rel(render(x), stored["insertion_out"]) < 1e-5
