"""StyleFlow's `modellarge10k.pt`: the weights of a `discovery.styleflow.Flow`, whose widths tell the rest."""

import re
from collections.abc import Mapping

from torch import Tensor

from generative.checkpoints.configs import read_config
from generative.checkpoints.contents import make_state, shapes_of
from generative.checkpoints.errors import CheckpointError, some_of
from generative.discovery.styleflow import Flow, StyleFlowConfig, flow_names
from generative.editing.foreign.opened import MAX_BYTES, open_file

_GATE = re.compile(r"flow\.speed\.layers\.(\d{1,3})\._hyper_gate\.weight")


def read_flow(content: bytes) -> Flow:
    """The flow, ready for edits.

    Raises:
        CheckpointError: those of the container; `bad_config`, `missing_keys`, `unexpected_keys`,
            `wrong_shapes`, `bad_tensor`.
    """
    state = flow_names(make_state(open_file(content), "the flow", MAX_BYTES))
    flow = Flow(_config_of(state))
    expected, found = shapes_of(flow.state_dict()), shapes_of(state)
    if missing := expected.keys() - found.keys():
        raise CheckpointError("missing_keys", some_of(missing))
    if unexpected := found.keys() - expected.keys():
        raise CheckpointError("unexpected_keys", some_of(name[:100] for name in unexpected))
    if wrong := [name for name in expected if found[name] != expected[name]]:
        raise CheckpointError("wrong_shapes", some_of(wrong))
    if any(bool((value < 0).any()) for name, value in state.items() if name.endswith("running_var")):
        raise CheckpointError("bad_tensor", "a variance below 0")
    flow.load_state_dict({name: value.float() for name, value in state.items()})
    return flow.eval().requires_grad_(False)


def _config_of(state: Mapping[str, Tensor]) -> StyleFlowConfig:
    gates = {int(m[1]): tuple(t.shape) for name, t in state.items() if (m := _GATE.fullmatch(name))}
    if set(gates) != set(range(len(gates))) or not gates or any(len(shape) != 2 for shape in gates.values()):
        raise CheckpointError("unsupported_format", "not the weights of a flow")
    widths = [gates[i][0] for i in range(len(gates))]
    fields = {"w_dim": widths[-1], "attributes": gates[0][1] - 1, "hidden": tuple(widths[:-1])}
    return read_config(StyleFlowConfig, fields)
