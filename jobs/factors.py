"""The factors of the portraits world: what can be read in its pictures (a test compares)."""

from collections.abc import Mapping

CONTINUOUS: tuple[str, ...] = (
    "yaw",
    "pitch",
    "light_azimuth",
    "light_elevation",
    "skin_tone",
    "hair_length",
    "hair_volume",
    "fringe",
    "curl",
    "age",
    "smile",
    "mouth_open",
    "brow",
    "eye_size",
    "gaze",
    "face_width",
    "jaw",
    "nose_size",
    "shirt_color",
    "background",
)
BINARY: tuple[str, ...] = (
    "glasses",
    "beard",
    "earrings",
    "hat",
    "collar",
)
CATEGORICAL: Mapping[str, tuple[str, ...]] = {
    "hair_color": ("black", "brown", "auburn", "ginger", "blond", "grey"),
    "iris_color": ("brown", "green", "blue", "grey"),
}
FACTORS = (*CONTINUOUS, *BINARY, *CATEGORICAL)
