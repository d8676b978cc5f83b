"""Write a model for another runtime, check it against torch, and record how far it is from it.

    python -m generative.export MODEL --to onnx|triton|tensorrt [--precision fp32|fp16|bf16]
        [--output uint8|float] [--upsampling transposed|polyphase] [--repo FOLDER]

MODEL is a name in the repository of models, or a folder. The export lies in the model's folder, under the
name of its target; the models that Triton loads lie in the repository. Prints one line of JSON, the record.
Exit status 3: refused, with the reason on stderr.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from generative.export.graphs import Options, Precision
from generative.export.onnx import ExportFailed, export_onnx
from generative.export.record import Export
from generative.export.tensorrt import Missing, build, write_recipe
from generative.export.triton import TooLarge, write_repository
from generative.store import load_model

REFUSED = 3
REPO = Path(__file__).parents[2] / "model_repo"


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    folder = Path(given.model) if (Path(given.model) / "card.json").is_file() else given.repo / given.model
    try:
        print(export(folder, given.to, _options(given), given.repo).model_dump_json())
    except FileNotFoundError:
        return _refuse(f"there is no model {given.model!r} in {given.repo}")
    except (ExportFailed, TooLarge, Missing) as error:
        return _refuse(str(error))
    return 0


def export(folder: Path, target: str, options: Options, repository: Path) -> Export:
    """Raises ExportFailed, TooLarge, Missing, and what a broken model raises."""
    generator, card = load_model(folder)
    place = folder / ("tensorrt" if target == "tensorrt" else "onnx")
    record = export_onnx(generator, card.name, card.sha256, place, options)
    if target == "triton":
        return write_repository(record, place, repository, folder / "triton")
    if target == "tensorrt":
        record = write_recipe(record, place)
        build(place)
    return record


def _options(given: argparse.Namespace) -> Options:
    gpu = given.to == "tensorrt"
    precision: Precision = given.precision or ("fp16" if gpu else "fp32")
    return Options(precision, given.output, given.upsampling or ("polyphase" if gpu else "transposed"))


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="ganserve export", description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a name in the repository of models, or a folder")
    parser.add_argument("--to", required=True, choices=("onnx", "triton", "tensorrt"))
    parser.add_argument("--precision", choices=("fp32", "fp16", "bf16"), help="default fp32; tensorrt: fp16")
    parser.add_argument("--output", default="uint8", choices=("uint8", "float"), help="of pictures")
    parser.add_argument(
        "--upsampling",
        choices=("transposed", "polyphase"),
        help="of StyleGAN2: the fewest products, or plain convolutions (default for tensorrt)",
    )
    repo = os.environ.get("GANSERVE_MODEL_REPO", REPO)
    parser.add_argument("--repo", type=Path, default=Path(repo), help="the repository of models")
    return parser


def _refuse(reason: str) -> int:
    print(reason, file=sys.stderr)
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
