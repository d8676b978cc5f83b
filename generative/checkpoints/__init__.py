"""Published weights into our parameter names, read without executing anything that a file contains.

The layers, from the bytes up: `zips` and `torch_files` (containers), `pickles` (the opcode machine),
`allowed` (what each format may name), `tensors` (descriptions that are checked before a tensor is made),
`nvlabs` and `rosinality` (names and configurations), `importing` (the way in).
"""

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.importing import Imported, import_checkpoint

__all__ = ["CheckpointError", "Imported", "import_checkpoint"]
