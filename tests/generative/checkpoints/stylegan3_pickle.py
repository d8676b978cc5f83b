"""Pickles of StyleGAN3 as the official training script writes them."""

import collections
import pickle

import numpy as np

from tests.generative.checkpoints.conftest import Persistent, _official_modules

SCRATCH = {  # what layers keep beside tensors: numpy scalars, small arrays, and plain values
    "in_size": np.broadcast_to(np.asarray([36]), [2]),
    "out_size": np.asarray([36, 36]),
    "in_sampling_rate": np.float64(16),
    "use_fp16": np.bool_(True),
    "in_channels": np.int64(24),
    "padding": [9, 8, 9, 8],
    "conv_clamp": 256,
}


def stylegan3_pickle(module, kwargs, *, source="", protocol=4):
    """`module` as `G_ema`, made from `kwargs`; the source text in it is `source`."""
    with _official_modules() as modules:
        easy = modules["dnnlib.util"].EasyDict
        reconstruct = modules["torch_utils.persistence"]._reconstruct_persistent_obj

        def written(part, arguments):
            attributes = SCRATCH | {
                "training": False,
                "_parameters": collections.OrderedDict(part._parameters),
                "_buffers": collections.OrderedDict(part._buffers),
                "_non_persistent_buffers_set": set(part._non_persistent_buffers_set),
                "_backward_hooks": collections.OrderedDict(),
                "_modules": collections.OrderedDict(
                    (name, written(child, {})) for name, child in part._modules.items()
                ),
                "_init_args": (),
                "_init_kwargs": easy(arguments),
            }
            return Persistent(reconstruct, type(part).__name__, source, attributes)

        root = {"G": None, "D": None, "G_ema": written(module, kwargs), "augment_pipe": None}
        return pickle.dumps(root | {"training_set_kwargs": easy()}, protocol=protocol)
