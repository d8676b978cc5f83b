"""The groups of the `ganserve` command line, one file each."""
