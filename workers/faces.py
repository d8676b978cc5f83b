"""Faces in uploaded pictures, found by a detector that does not come with the service.

`GANSERVE_LANDMARK_MODEL` names an ONNX file of the YuNet family ("YuNet: A Tiny Millisecond-level Face
Detector", Wu et al., 2023), such as `face_detection_yunet_2026may.onnx`. OpenCV reads it: a graph of
operators that it knows, in which no code can lie. Its five points are the eyes, the nose and the corners of
the mouth, all that the square of FFHQ needs.
"""

import threading
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from generative.inversion.alignment import Frame, ffhq_frame
from jobs.errors import JobFailed
from workers.images import Pixels

SIDES = (320, 640)  # pixels: pictures are looked at small first, where large faces have the size it knows
CERTAIN = 0.7  # score from which on it is a face
OVERLAP = 0.3  # of two faces that are taken for one
MOST = 100  # faces of a picture


class FaceDetector:
    """The operator's detector, loaded when a job first needs it. May be used by several threads."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._lock = threading.Lock()  # it keeps the size of the picture that it looks at

    def frame(self, pixels: Pixels) -> Frame:
        """The square of FFHQ around the largest face of a picture (H, W, 3).

        Raises:
            ValueError: no face is seen.
            JobFailed: `missing_weights`, which says which file to give.
        """
        left, right, mouth = self._points(pixels)
        return ffhq_frame(left, right, mouth)

    def _points(self, pixels: Pixels) -> tuple[complex, complex, complex]:
        """Eyes and mouth, left of the viewer first."""
        longer = max(pixels.shape[:2])
        for side in SIDES:
            scale = min(1.0, side / longer)
            faces = self._detect(_shrunk(pixels, scale))
            if len(faces):
                largest = max(faces, key=lambda face: face[2] * face[3])
                eyes, corners = largest[4:8], largest[10:14]
                left, right, *mouth = (np.concatenate([eyes, corners]).reshape(4, 2) @ [1, 1j]) / scale
                return complex(left), complex(right), complex(sum(mouth) / 2)
        raise ValueError("no face is seen")

    def _detect(self, pixels: Pixels) -> np.ndarray[Any, Any]:
        """(faces, 15): left, top, width, height, five points, score."""
        with self._lock:
            try:
                self._detector.setInputSize(pixels.shape[1::-1])
                found = self._detector.detect(np.ascontiguousarray(pixels[..., ::-1]))[1]
            except cv2.error as error:
                raise _missing(f"{self._file} is no face detector of YuNet: {error}") from error
        return np.empty((0, 15)) if found is None else found

    @cached_property
    def _detector(self) -> cv2.FaceDetectorYN:
        if self._file is None or not self._file.is_file():
            where = self._file or "that GANSERVE_LANDMARK_MODEL names"
            raise _missing(f"the alignment ffhq needs landmarks, or a detector in the file {where}")
        size = (SIDES[0], SIDES[0])
        return cv2.FaceDetectorYN.create(str(self._file), "", size, CERTAIN, OVERLAP, MOST)


def _shrunk(pixels: Pixels, scale: float) -> Pixels:
    if scale == 1:
        return pixels
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)


def _missing(detail: str) -> JobFailed:
    return JobFailed(detail, code="missing_weights")
