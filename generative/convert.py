"""Checkpoint files into model folders, from the command line and for the limited child process of the import
job.

    python -m generative.convert FILE FOLDER --name NAME [--licence TEXT] [--half] [--memory-bytes N] [--cpu-s
    N] python -m generative.convert inspect FILE

Prints one line of JSON: the card, or for `inspect` what the file holds. A file that cannot be imported gives
exit status 3 and `{"code": ..., "detail": ...}` as the last line of stderr. Opens no connection and starts no
process.
"""

import argparse
import dataclasses
import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from generative.cards import About
from generative.checkpoints import CheckpointError, Imported, import_checkpoint
from generative.networks.stylegan2 import Generator
from generative.store import save_model

REFUSED = 3


def main(arguments: Sequence[str]) -> int:
    inspecting = list(arguments[:1]) == ["inspect"]
    options = _parser(inspecting).parse_args(arguments[1:] if inspecting else arguments)
    try:
        if inspecting:
            answer = _describe(import_checkpoint(options.file))
        else:
            _limit(options.memory_bytes, options.cpu_s)
            answer = _convert(options)
    except CheckpointError as error:
        return _refuse(error.code, str(error))
    except MemoryError:
        return _refuse("too_large", "reading the file took more memory than is allowed")
    print(answer)
    return 0


def _parser(inspecting: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m generative.convert", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    if not inspecting:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--name", required=True)
        parser.add_argument("--licence", default="unknown")
        parser.add_argument("--half", action="store_true", help="store float16 weights")
        parser.add_argument("--memory-bytes", type=int, help="limit of the address space")
        parser.add_argument("--cpu-s", type=int, help="limit of processor time")
    return parser


def _limit(memory_bytes: int | None, cpu_s: int | None) -> None:
    for limit, value in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CPU, cpu_s)):
        if value is not None:
            resource.setrlimit(limit, (value, value))


def _convert(options: argparse.Namespace) -> str:
    imported = import_checkpoint(options.file)
    generator = Generator(imported.config)
    generator.load_state_dict(imported.state_dict)
    about = About(
        name=options.name,
        licence=options.licence,
        source=f"imported, {imported.provenance['format']}",
        provenance=imported.provenance,
    )
    return save_model(options.folder, generator.eval(), about, half=options.half).model_dump_json()


def _describe(imported: Imported) -> str:
    parameters = sum(value.numel() for value in imported.state_dict.values())
    facts = {
        "family": "stylegan2",
        "parameters": parameters,
        "architecture": dataclasses.asdict(imported.config),
    }
    return json.dumps(imported.provenance | facts)


def _refuse(code: str, detail: str) -> int:
    print(json.dumps({"code": code, "detail": detail}), file=sys.stderr)
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
