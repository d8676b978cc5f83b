"""One file for each architecture. Parameter names are those of the official checkpoints."""
