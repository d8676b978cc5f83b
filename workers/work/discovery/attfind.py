"""Style channels that a factor's reading depends on most."""

from dataclasses import dataclass

import torch
from torch import Tensor

from generative.batch import Tensors
from generative.discovery.stylespace import effective_channels, style_statistics
from generative.editing.direction import Direction
from generative.generator import StyleGenerator
from generative.metrics.examiner import Examiner
from generative.networks.feature_network import FeatureNetwork
from jobs.discovery import AttfindInput
from workers.blocks import Subject
from workers.models import LoadedModel
from workers.work import painting
from workers.work.discovery.samples import Job, refuse_factor, samples
from workers.work.discovery.style_channels import as_directions, layers_without_torgb
from workers.work.sources import with_w

STEP = 32  # pictures between two looks at the clock


def find(job: Job, model: LoadedModel) -> list[Direction]:
    wanted, generator = job.request.input, with_w(model.generator)
    assert isinstance(wanted, AttfindInput)
    refuse_factor(model, wanted.factor)
    examiner = model.examiner
    assert examiner is not None and examiner.reader is not None  # else no factor is read
    column = next(c for c in examiner.reader.columns if c.readout.name == wanted.factor).slice.start
    rows, slopes = [], []
    for codes in samples(job, model, wanted, wanted.samples, STEP, wanted.psi):
        styles = job.forward(model, painting.style_rows, codes)
        slopes.append(job.forward(Subject(examiner), Slopes(column), {"styles": styles}))
        rows.append(styles)
    split = generator.split_styles
    statistics = style_statistics(list(split(torch.cat(rows)).values()))
    layers = layers_without_torgb(generator)
    found = effective_channels(list(split(torch.cat(slopes)).values()), statistics, wanted.channels, layers)
    return as_directions(generator, statistics, found, wanted.name, wanted.method, f"for {wanted.factor}")


@dataclass(frozen=True)
class Slopes:
    """styles (N, S) -> (N, S): how a column of the factors network's output answers, before it is decoded."""

    column: int

    def __call__(self, examiner: Examiner, inputs: Tensors) -> Tensor:
        generator, reader = examiner.generator, examiner.reader
        assert isinstance(generator, StyleGenerator) and isinstance(reader, FeatureNetwork)
        with torch.enable_grad():
            styles = inputs["styles"].detach().requires_grad_()
            images = generator.synthesize_styles(generator.split_styles(styles))
            answer = reader.read(reader(images)[-1])[:, self.column]
            [slopes] = torch.autograd.grad(answer.sum(), styles)
        return slopes
