"""Generators as files that other runtimes read: `python -m generative.export`.

`graphs` says what is traced, `onnx` traces it and checks it against torch, `triton` and `tensorrt` write what
their servers and builders need beside the graphs, `record` is what is written down of it.
"""
