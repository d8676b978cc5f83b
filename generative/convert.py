"""Checkpoint files into model folders, from the command line and for the limited child process of the import
job.

    python -m generative.convert FILE FOLDER --name NAME [--licence TEXT] [--half] [--memory-bytes N]
        [--cpu-s N]
    python -m generative.convert inspect FILE
    python -m generative.convert directions FILE FOLDER --name NAME --z-dim N [--w-dim N --num-ws N]
        [--space z|w|w+] [--first N]
    python -m generative.convert export WEIGHTS FILE --format nvlabs-state-dict|rosinality

Prints one line of JSON: the card; for `inspect` what the file holds; nothing for `export`, which goes the
other way, and for `directions`, which makes a file of another project a set in the folder. A file that cannot
be used gives exit status 3 and `{"code": ..., "detail": ...}` as the last line of stderr. Opens no connection
and starts no process.
"""

import argparse
import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from generative.cards import About
from generative.checkpoints import CheckpointError, import_checkpoint
from generative.checkpoints.exporting import EXPORTS, export_checkpoint
from generative.editing.files import save_directions
from generative.editing.foreign import Request, Target, read_directions
from generative.families import build, describe, generator_of
from generative.spaces import Space
from generative.store import save_model

REFUSED = 3


def main(arguments: Sequence[str]) -> int:
    command = arguments[0] if arguments and arguments[0] in COMMANDS else "convert"
    options = _parser(command).parse_args(arguments[command != "convert" :])
    try:
        answer = COMMANDS[command](options)
    except CheckpointError as error:
        return _refuse(error.code, str(error))
    except MemoryError:
        return _refuse("too_large", "reading the file took more memory than is allowed")
    if answer:
        print(answer)
    return 0


def _parser(command: str) -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m generative.convert", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    if command == "export":
        parser.add_argument("out", type=Path)
        parser.add_argument("--format", required=True, choices=sorted(EXPORTS))
    if command == "directions":
        parser.add_argument("folder", type=Path)
        parser.add_argument("--name", required=True)
        parser.add_argument("--z-dim", type=int, required=True)
        parser.add_argument("--w-dim", type=int, default=0)
        parser.add_argument("--num-ws", type=int, default=0)
        parser.add_argument("--space", type=Space)
        parser.add_argument("--first", type=int)
    if command == "convert":
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
    _limit(options.memory_bytes, options.cpu_s)
    imported = import_checkpoint(options.file)
    found = imported.generator
    generator = generator_of(found.name, found.config)
    generator.load_state_dict(found.state, assign=True)
    encoder = None
    if (beside := imported.encoder) is not None:
        encoder = build(beside.name, beside.config).eval()
        encoder.load_state_dict(beside.state, assign=True)
    about = About(
        name=options.name,
        licence=options.licence,
        source=f"imported, {imported.provenance['format']}",
        class_names=imported.class_names,
        provenance=imported.provenance,
    )
    card = save_model(options.folder, generator.eval(), about, half=options.half, encoder=encoder)
    return card.model_dump_json()


def _inspect(options: argparse.Namespace) -> str:
    imported = import_checkpoint(options.file)
    found = imported.generator
    generator = generator_of(found.name, found.config)
    facts = {
        "family": generator.family,
        "resolution": generator.img_resolution,
        "channels": generator.img_channels,
        "classes": generator.c_dim,
        "spaces": generator.spaces,
        "parameters": sum(value.numel() for value in found.state.values()),
        "architecture": describe(found.name, found.config),
    }
    if (encoder := imported.encoder) is not None:
        facts["encoder"] = describe(encoder.name, encoder.config)
    return json.dumps(imported.provenance | facts)


def _directions(options: argparse.Namespace) -> str:
    target = Target(options.z_dim, options.w_dim, options.num_ws)
    request = Request(options.name, target, options.space, options.first)
    found = read_directions(options.file.read_bytes(), request)
    save_directions(options.folder, options.name, found[0].method, found)
    return ""


def _export(options: argparse.Namespace) -> str:
    export_checkpoint(options.file, options.format, options.out)
    return ""


COMMANDS = {"convert": _convert, "inspect": _inspect, "directions": _directions, "export": _export}


def _refuse(code: str, detail: str) -> int:
    print(json.dumps({"code": code, "detail": detail}), file=sys.stderr)
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
