"""The operator's detector of faces, on portraits whose eyes and mouth are known."""

import numpy as np
import pytest
import torch

from generative.inversion.alignment import ffhq_frame
from generative.pixels import to_uint8
from generative.worlds.portraits import PARTS, render, sample
from jobs.errors import JobFailed
from tests.workers.yunet import SIDE, features, save_detector
from workers import faces
from workers.faces import FaceDetector

POINTS = ("right eye", "left eye", "mouth")  # the person's own right is the viewer's left


@pytest.fixture(scope="module")
def portraits() -> tuple[np.ndarray, np.ndarray]:
    """Renders (N, 64, 64, 3), and where eyes and mouth are in them (N, 3)."""
    drawn = render(sample(24, torch.Generator().manual_seed(3)), SIDE, 1, truth=True)
    rows = [[(labels == PARTS.index(part)).nonzero().double().mean(dim=0) + 0.5 for part in POINTS]
            for labels in drawn.parts]  # fmt: skip
    points = torch.stack([torch.stack(row) for row in rows])  # y, x
    return to_uint8(drawn.image).numpy(), (points[..., 1] + 1j * points[..., 0]).numpy()


@pytest.fixture(scope="module")
def detector(portraits, tmp_path_factory) -> FaceDetector:
    """Its points are a linear function of a coarse picture, fitted to the portraits."""
    pixels, points = portraits
    nose = points[:, :2].mean(axis=1, keepdims=True)
    five = np.concatenate([points[:, :2], nose, points[:, 2:] - 4, points[:, 2:] + 4], axis=1)
    wanted = np.stack([five.real, five.imag], axis=2).reshape(-1, 10)
    seen = np.concatenate([features(pixels), np.ones((len(pixels), 1))], axis=1)
    fitted = np.linalg.lstsq(seen, wanted, rcond=None)[0]
    return FaceDetector(save_detector(tmp_path_factory.mktemp("faces") / "tiny.onnx", {0: (48.0, fitted)}))


def test_the_square_of_a_portrait_is_that_of_its_eyes_and_mouth(portraits, detector):
    for pixels, points in zip(*portraits, strict=True):
        found, expected = detector.frame(pixels), ffhq_frame(*points)
        assert abs(found.center - expected.center) < 0.1 and abs(found.axis - expected.axis) < 0.1


def test_a_large_picture_is_looked_at_small(portraits, detector, monkeypatch):
    monkeypatch.setattr(faces, "SIDES", (SIDE,))
    pixels, points = portraits[0][0], portraits[1][0]
    found, expected = detector.frame(np.kron(pixels, np.ones((4, 4, 1), np.uint8))), ffhq_frame(*points)
    assert abs(found.center - 4 * expected.center) < 0.4 and abs(found.axis - 4 * expected.axis) < 0.4


def constant(*points: complex) -> np.ndarray:
    made = np.zeros((193, 10))
    made[-1] = [number for point in points for number in (point.real, point.imag)]
    return made


def test_of_two_faces_the_larger_is_taken(tmp_path):
    large = (10 + 10j, 20 + 10j, 15 + 14j, 12 + 20j, 18 + 20j)
    small = (50 + 50j, 54 + 50j, 52 + 52j, 50 + 54j, 54 + 54j)
    cells = {3: (10.0, constant(*small)), 0: (24.0, constant(*large))}
    detector = FaceDetector(save_detector(tmp_path / "two.onnx", cells))
    found = detector.frame(np.zeros((SIDE, SIDE, 3), np.uint8))
    expected = ffhq_frame(10 + 10j, 20 + 10j, 15 + 20j)
    assert abs(found.center - expected.center) < 1e-3 and abs(found.axis - expected.axis) < 1e-3


def test_a_picture_without_a_face_says_so(tmp_path):
    detector = FaceDetector(save_detector(tmp_path / "blind.onnx", {}))
    with pytest.raises(ValueError, match="no face is seen"):
        detector.frame(np.zeros((SIDE, SIDE, 3), np.uint8))


@pytest.mark.parametrize("content", [None, b"no onnx"])
def test_a_file_that_is_missing_or_another_is_named(content, tmp_path):
    file = tmp_path / "faces.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(JobFailed, match=r"faces\.onnx") as caught:
        FaceDetector(file).frame(np.zeros((SIDE, SIDE, 3), np.uint8))
    assert caught.value.code == "missing_weights"


def test_without_a_file_the_setting_is_named():
    with pytest.raises(JobFailed, match="GANSERVE_LANDMARK_MODEL"):
        FaceDetector(None).frame(np.zeros((SIDE, SIDE, 3), np.uint8))
