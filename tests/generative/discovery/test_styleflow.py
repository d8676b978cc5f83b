import pytest
import torch

from generative.checkpoints.errors import CheckpointError
from generative.discovery.styleflow import (
    ATTRIBUTES,
    Flow,
    StyleFlowConfig,
    edit,
    wanted_attributes,
)
from generative.editing.foreign.flow_files import read_flow

from ..editing.foreign.files import pt
from .vectors import Vectors

LAYERS = "chain.1.odefunc.diffeq.layers"
COUNTERS = {"chain.0.step": (1,), "chain.2.step": (1,), "chain.1.odefunc._num_evals": ()}


def official(stored):
    """The state dict of an official file."""
    names = [name for name in stored if name.startswith("param__")]
    keys = {name: name[7:].replace("___", "._").replace("__", ".") for name in names}
    return {key: stored[name] for name, key in keys.items()}


@pytest.fixture(scope="module")
def toy():
    torch.manual_seed(0)
    flow = Flow(StyleFlowConfig(w_dim=6, attributes=17, hidden=(8, 5))).eval().requires_grad_(False)
    flow.before.running_mean.normal_()
    flow.after.running_var.uniform_(0.5, 2)
    flow.after.weight.normal_(std=0.3)
    return flow.double()


def as_official(flow):
    names = {
        "before.": "chain.0.",
        "after.": "chain.2.",
        "flow.speed.": "chain.1.odefunc.diffeq.",
        "flow.": "chain.1.",
    }
    state = {}
    for key, value in flow.float().state_dict().items():
        ours = next(our for our in names if key.startswith(our))
        state[names[ours] + key.removeprefix(ours)] = value
    return state | {key: torch.zeros(shape) for key, shape in COUNTERS.items()}


def test_latents_and_densities_agree_with_the_official_code_and_with_the_true_solution():
    stored = Vectors("styleflow", "cnf_small")
    flow = read_flow(pt(official(stored)))
    current, target = stored["attr_source"].flatten(1), stored["attr_target"].flatten(1)
    signs = stored["hutchinson_e"]

    z, z_density = flow.with_density(stored["w"], current, signs)
    w, w_density = flow.with_density(stored["forward_z"], target, signs, backwards=True)
    ours = {
        "forward_z": flow(stored["w"], current),
        "truth64_forward_z": flow(stored["w"], current),
        "reverse_w": flow.inverse(stored["forward_z"], target),
        "truth64_reverse_w": flow.inverse(flow(stored["w"], current), target),
        "roundtrip_w": flow.inverse(stored["forward_z"], current),
    }
    for name, value in ours.items():
        torch.testing.assert_close(value.double(), stored[name].double(), rtol=0, atol=5e-4)
    torch.testing.assert_close(z, ours["forward_z"], rtol=0, atol=1e-4)
    torch.testing.assert_close(w, ours["reverse_w"], rtol=0, atol=1e-4)
    densities = {
        "forward_logpx": z_density, "truth64_forward_logpx": z_density, "reverse_logpx": w_density,
    }  # fmt: skip
    for name, value in densities.items():
        torch.testing.assert_close(value[..., None].double(), stored[name].double(), rtol=0, atol=3e-2)
    stored.assert_all_read()


def test_with_a_small_tolerance_the_true_solution_is_met():
    stored = Vectors("styleflow", "cnf_small")
    flow = read_flow(pt(official(stored))).double()
    current, target = stored["attr_source"].double().flatten(1), stored["attr_target"].double().flatten(1)
    z, density = flow.with_density(
        stored["w"].double(), current, stored["hutchinson_e"].double(), tolerance=1e-10
    )
    torch.testing.assert_close(z, stored["truth64_forward_z"], rtol=0, atol=1e-7)
    torch.testing.assert_close(density[..., None], stored["truth64_forward_logpx"], rtol=0, atol=1e-7)
    w = flow.inverse(z, target, tolerance=1e-10)
    torch.testing.assert_close(w, stored["truth64_reverse_w"], rtol=0, atol=1e-7)


def test_even_steps_come_nearer_to_the_true_solution_than_those_that_errors_of_1e_5_choose():
    stored = Vectors("styleflow", "cnf_small")
    flow, truth = read_flow(pt(official(stored))).double(), stored["truth64_forward_z"]
    ws, current = stored["w"].double(), stored["attr_source"].double().flatten(1)
    even, adaptive = ((z - truth).abs().max() for z in (flow(ws, current), flow(ws, current, tolerance=1e-5)))
    assert float(even) < min(1e-6, float(adaptive))


def test_there_and_back_with_the_same_attributes_is_where_it_began(toy):
    ws, attributes = torch.randn(3, 4, 6).double(), torch.randn(3, 17).double()
    back = toy.inverse(toy(ws, attributes, 1e-10), attributes, 1e-10)
    torch.testing.assert_close(back, ws, rtol=0, atol=1e-7)


def test_a_picture_s_latents_do_not_depend_on_its_batch(toy):
    ws, attributes = torch.randn(3, 4, 6).double(), torch.randn(3, 17).double()
    together = toy(ws, attributes)
    alone = torch.cat([toy(ws[i : i + 1], attributes[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_the_density_is_that_of_the_jacobian(toy):
    """With a sign for each coordinate in turn, the estimates add up to the trace."""
    w, attributes = torch.randn(1, 1, 6).double(), torch.randn(1, 17).double()
    J = torch.autograd.functional.jacobian(lambda w: toy(w, attributes, 1e-9), w).view(6, 6)
    signs = torch.eye(6).double()[None]
    copies, density = toy.with_density(w.expand(1, 6, 6), attributes, signs, tolerance=1e-9)
    gain = toy.before.log_gain().sum() + toy.after.log_gain().sum()
    traces = -(density + gain)
    torch.testing.assert_close(-traces.sum() - gain, -torch.linalg.slogdet(J).logabsdet, rtol=0, atol=1e-6)
    torch.testing.assert_close(copies, toy(w, attributes).expand(1, 6, 6), rtol=0, atol=1e-4)


def test_an_edit_changes_the_chosen_layers_only_and_nothing_without_a_change(toy):
    ws, current = torch.randn(2, 10, 6).double(), torch.rand(2, 17).double()
    wanted = wanted_attributes(current, "glasses", 1.0)
    edited = edit(toy, ws, current, wanted, ATTRIBUTES["glasses"].layers)
    moved = (edited - ws).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.nonzero().flatten().tolist() == [2, 3]
    torch.testing.assert_close(edit(toy, ws, current, current, range(10)), ws, rtol=0, atol=1e-4)


def test_wanted_attributes_exaggerate_as_the_official_program_does():
    current = torch.full((1, 17), 0.5)
    wanted = wanted_attributes(current, "gender", 1.0)
    assert wanted[0, 9] == pytest.approx(0.5 + 1.5 * 0.5)
    assert torch.equal(wanted[0, 10:], current[0, 10:]) and bool((current == 0.5).all())


def test_official_files_are_read_from_both_containers(toy):
    content = as_official(toy)
    for old in (False, True):
        found = read_flow(pt(content, old))
        assert found.config == toy.config
        for key, value in found.state_dict().items():
            torch.testing.assert_close(value, toy.state_dict()[key].float())


@pytest.mark.parametrize("change, code", [
    (lambda s: s.pop("chain.0.bias"), "missing_keys"),
    (lambda s: s.update({"chain.3.weight": torch.ones(6)}), "unexpected_keys"),
    (lambda s: s.update({"chain.0.bias": torch.ones(7)}), "wrong_shapes"),
    (lambda s: s.update({"chain.0.bias": torch.full((6,), torch.nan)}), "non_finite"),
    (lambda s: s.update({"chain.0.bias": "x"}), "malformed"),
    (lambda s: s.update({"chain.2.running_var": -torch.ones(6)}), "bad_tensor"),
    (lambda s: s.pop(f"{LAYERS}.1._hyper_gate.weight"), "unsupported_format"),
    (lambda s: s.update({f"{LAYERS}.2._hyper_gate.weight": torch.ones(0, 18)}), "bad_config"),
])  # fmt: skip
def test_flows_that_do_not_fit_together_are_refused(toy, change, code):
    state = as_official(toy)
    change(state)
    with pytest.raises(CheckpointError) as refusal:
        read_flow(pt(state))
    assert refusal.value.code == code


@pytest.mark.parametrize("fields", [{"w_dim": 0}, {"hidden": ()}, {"hidden": (8, 0)}, {"attributes": 10**6}])
def test_impossible_sizes_are_refused(fields):
    with pytest.raises(ValueError, match=r"from 1 to|1 to 64"):
        StyleFlowConfig(**fields)
