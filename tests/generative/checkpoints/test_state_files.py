"""State dicts from files of others, written by torch and safetensors themselves."""

import collections
import io

import pytest
import torch
from safetensors.torch import save_file

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.state_files import read_state

STATE = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "a.count": torch.tensor(7),
    "half": torch.tensor([0.5, -2.0], dtype=torch.float16),
}


@pytest.mark.parametrize("form", ["zip", "stream", "wrapped", "parameters", "safetensors"])
def test_every_container_gives_the_tensors_that_were_saved(tmp_path, form):
    path = tmp_path / "weights"
    if form == "safetensors":
        save_file(STATE, path)
    elif form == "parameters":
        torch.save({n: torch.nn.Parameter(t) if t.is_floating_point() else t for n, t in STATE.items()}, path)
    else:
        root = {"state_dict": STATE} if form == "wrapped" else STATE
        torch.save(root, path, _use_new_zipfile_serialization=form != "stream")
    found = read_state(path)
    assert set(found) == set(STATE)
    for name, value in STATE.items():
        torch.testing.assert_close(found[name], value.float() if value.is_floating_point() else value)


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_nothing_in_a_file_is_run(tmp_path, capsys):
    torch.save({"a": Evil()}, tmp_path / "weights")
    with pytest.raises(CheckpointError) as refused:
        read_state(tmp_path / "weights")
    assert refused.value.code == "unsafe_pickle"
    assert capsys.readouterr().out == ""


def saved(root: object) -> bytes:
    out = io.BytesIO()
    torch.save(root, out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "unsupported_format"),
        (b"GIF89a" + bytes(100), "unsupported_format"),
        (b"\xff" * 7 + b"\x7f" + b"{}", "bad_container"),
        (b"\x02\0\0\0\0\0\0\0{]", "bad_container"),
        (saved([torch.zeros(2)]), "unsupported_format"),
        (saved({"a": torch.zeros(2), "epoch": 3}), "unsupported_format"),
        (saved({"a": torch.tensor([float("nan")])}), "non_finite"),
    ],
)
def test_what_is_no_state_dict_is_refused_with_a_code(tmp_path, content, code):
    (tmp_path / "weights").write_bytes(content)
    with pytest.raises(CheckpointError) as refused:
        read_state(tmp_path / "weights")
    assert refused.value.code == code


def test_a_torchscript_archive_is_refused(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "weights", "w") as archive:
        for name in ("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"):
            archive.writestr(name, b"")
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_state(tmp_path / "weights")


def test_a_file_over_the_limit_is_not_read(tmp_path):
    torch.save(STATE, tmp_path / "weights")
    with pytest.raises(CheckpointError) as refused:
        read_state(tmp_path / "weights", max_bytes=100)
    assert refused.value.code == "too_large"


@pytest.mark.parametrize("zip_container", [True, False])
def test_dictionaries_come_as_python_2_wrote_them(tmp_path, zip_container):
    class Ordered:
        def __reduce__(self):
            return collections.OrderedDict, ([["lin0.model.1.weight", torch.ones(2)]],)

    torch.save(Ordered(), tmp_path / "vgg.pth", _use_new_zipfile_serialization=zip_container)
    assert torch.equal(read_state(tmp_path / "vgg.pth")["lin0.model.1.weight"], torch.ones(2))


@pytest.mark.parametrize("pairs", [[["a"]], [[1, 2]], ["ab"], "ab", [["a", 1, 2]]])
def test_what_is_no_list_of_pairs_makes_no_dictionary(tmp_path, pairs):
    class Odd:
        def __reduce__(self):
            return collections.OrderedDict, (pairs,)

    torch.save(Odd(), tmp_path / "odd.pth")
    with pytest.raises(CheckpointError) as error:
        read_state(tmp_path / "odd.pth")
    assert error.value.code == "malformed"
