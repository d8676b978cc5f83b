"""What is sent for a folder, and for a checkpoint with names of classes."""

import zipfile

import pytest

from client.packing import packed


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "biggan"
    (folder / "logs").mkdir(parents=True)
    for name in ("G_ema.pth", "state_dict.pth", ".DS_Store"):
        (folder / name).write_bytes(name.encode() * 1000)
    return folder


def test_a_file_is_sent_as_it_is(folder):
    with packed(folder / "G_ema.pth") as sent:
        assert sent == folder / "G_ema.pth"


def test_a_folder_is_sent_as_the_same_archive_each_time_without_compression(folder):
    with packed(folder) as sent:
        first = sent.read_bytes()
        archive = zipfile.ZipFile(sent)
        assert archive.namelist() == ["G_ema.pth", "state_dict.pth"]
        assert archive.read("G_ema.pth") == (folder / "G_ema.pth").read_bytes()
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    (folder / "G_ema.pth").touch()
    with packed(folder) as sent:
        assert sent.read_bytes() == first
    assert not sent.exists()


def test_names_of_classes_go_with_the_checkpoint(folder, tmp_path):
    names = tmp_path / "imagenet.names"
    names.write_text("tench\ngoldfish\n")
    with packed(folder / "G_ema.pth", names) as sent:
        archive = zipfile.ZipFile(sent)
        assert archive.namelist() == ["G_ema.pth", "classes.txt"]
        assert archive.read("classes.txt") == b"tench\ngoldfish\n"
