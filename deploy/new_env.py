"""`python deploy/new_env.py`: writes deploy/.env for compose.yaml with new secrets, never over one."""

import secrets
import sys
from pathlib import Path

FILE = Path(__file__).with_name(".env")
EXAMPLE = Path(__file__).with_name("env.example")


def filled(example: str) -> str:
    """The example, with a random value of 256 bits for every `secret`."""
    return "\n".join(
        f"{line.removesuffix('secret')}{secrets.token_hex(32)}" if line.endswith("=secret") else line
        for line in example.splitlines()
    )


if __name__ == "__main__":
    if FILE.exists():
        sys.exit(f"{FILE} is there already")
    FILE.touch(mode=0o600)
    FILE.write_text(filled(EXAMPLE.read_text()) + "\n")
