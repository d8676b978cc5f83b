"""No other way in: what serves and converts models never unpickles."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "joblib", "shelve", "marshal"}


def sources():
    for package in ("api", "client", "generative", "jobs", "workers"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if "training" not in path.parts:  # reads its own checkpoints, with weights_only
                yield path, ast.parse(path.read_text())


def test_no_source_imports_an_unpickler():
    for path, tree in sources():
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & UNPICKLERS, path


def test_no_source_calls_torch_load_or_lets_numpy_unpickle():
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "load":
                assert not (isinstance(node.value, ast.Name) and node.value.id == "torch"), path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, path
