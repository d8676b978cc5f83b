"""ArcFace (Deng et al., 2019) on IR-SE50: a face to a point on a sphere that says whose it is.

Parameter names and numbers are those of `model_ir_se50.pth` of TreB1eN/InsightFace_Pytorch, by which
pixel2style2pixel, encoder4editing and restyle-encoder measure identity. They cut a fixed part out of the
aligned picture, and so does this: no face is looked for.

Axis letters: N batch, D length of the embedding, H W pixels.
"""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from generative.networks import ir_se50
from generative.networks.frozen_batch_norm import FrozenBatchNorm

SIDE, DIMENSION = 112, 512
VIEW = 256  # side of the aligned picture that the part is cut from
ROWS, COLUMNS = slice(35, 223), slice(32, 220)
COUNTER = ".num_batches_tracked"  # of batch normalisation, which only training reads


class ArcFace(nn.Module):
    """As a distance between pictures, it is 1 minus the cosine between their embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = ir_se50.Trunk(3, ir_se50.CHANNELS, ir_se50.DEPTHS)
        width, places = ir_se50.CHANNELS[-1], (SIDE >> len(ir_se50.DEPTHS)) ** 2
        self.output_layer = nn.Sequential(
            FrozenBatchNorm(width),
            nn.Identity(),  # dropout while it is trained
            nn.Flatten(),
            nn.Linear(width * places, DIMENSION),
            FrozenBatchNorm(DIMENSION),
        )

    def forward(self, faces: Tensor) -> Tensor:
        """faces: (N, 3, 112, 112) in [-1, 1] -> (N, D), of unit length."""
        return F.normalize(self.output_layer(self.trunk(faces)[-1]), dim=1)

    def describe(self, images: Tensor) -> list[Tensor]:
        """images: (N, 3, H, W) in [-1, 1], aligned as FFHQ is -> one (N, D)."""
        return [self(face_of(images))]

    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        """Two descriptions -> (N,)."""
        return 1 - (a[0] * b[0]).sum(dim=1)


def face_of(images: Tensor) -> Tensor:
    """The part that shows the face. images: (N, 3, H, W), aligned -> (N, 3, 112, 112)."""
    if images.shape[2:] != (VIEW, VIEW):
        images = F.adaptive_avg_pool2d(images, VIEW)
    return F.adaptive_avg_pool2d(images[:, :, ROWS, COLUMNS], SIDE)


def arcface_from(state: Mapping[str, Tensor]) -> ArcFace:
    """The network with these weights, under their official names, frozen.

    Raises:
        RuntimeError: torch's, which names what is missing, unknown, or of another shape.
    """
    network = ArcFace()
    network.load_state_dict({_our_name(n): t for n, t in state.items() if not n.endswith(COUNTER)})
    return network.eval().requires_grad_(False)


def _our_name(name: str) -> str:
    return f"trunk.{name}" if name.startswith(("input_layer.", "body.")) else name
