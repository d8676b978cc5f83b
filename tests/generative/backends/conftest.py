"""The export needs packages that the service does without."""

import pytest

pytest.importorskip("onnx", reason="onnx is not installed: the extra `runtimes`")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: the extra `runtimes`")
