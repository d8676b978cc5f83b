"""Benchmarks, each against a limit or a peer. `make bench` runs them all; `python -m bench.service` one."""
