import math

import numpy as np
import pytest
import torch

from generative.worlds.geometry import Camera, Vec, meet, quadric, turned


def vec(*values: float) -> Vec:
    return Vec(*(torch.tensor([v]) for v in values))


def test_rays_meet_a_turned_ellipsoid_where_a_plain_root_finder_says():
    yaw, pitch, center, radii = 0.7, -0.4, (0.2, -0.1, 0.3), (0.5, 0.3, 0.8)
    frame = turned(torch.tensor([yaw]), torch.tensor([pitch]), vec(0.05, 0.1, -0.2))
    axis = torch.linspace(-1, 1, 41)
    near, far = meet(quadric(frame, vec(*center), vec(*radii)), axis, -axis)
    rotation = np.array([[axis.x.item(), axis.y.item(), axis.z.item()] for axis in frame[:3]])  # rows: axes
    for row in range(0, 41, 4):
        for column in range(0, 41, 4):
            start = rotation @ (np.array([axis[column], -axis[row], 0]) - [0.05, 0.1, -0.2]) - center
            o, d = start / radii, rotation @ np.array([0, 0, 1.0]) / radii
            roots = np.roots([d @ d, 2 * o @ d, o @ o - 1])
            if np.iscomplex(roots).any():
                assert near[0, row, column] == -math.inf
            else:
                assert near[0, row, column] == pytest.approx(roots.max(), abs=1e-5)
                assert far[0, row, column] == pytest.approx(roots.min(), abs=1e-5)


def test_a_frame_is_a_rotation():
    frame = turned(torch.tensor([0.9]), torch.tensor([0.3]), vec(1, 2, 3))
    matrix = torch.stack([torch.stack(axis) for axis in frame[:3]])[..., 0]
    assert torch.allclose(matrix @ matrix.T, torch.eye(3), atol=1e-6)
    assert torch.linalg.det(matrix) == pytest.approx(1, abs=1e-6)
    point = vec(0.3, -0.2, 0.5)
    assert torch.allclose(torch.stack(frame.local(frame.point(point))), torch.stack(point), atol=1e-6)


def test_points_and_project_are_inverse():
    camera = Camera(yaw=0.8, pitch=-0.3, half_height=0.7, target=(0.1, -0.2, 0.05))
    depth = 3 + torch.rand(2, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    x, y, found = camera.project(camera.points(depth)).unbind(1)
    assert torch.allclose(found, depth[:, 0], atol=1e-5)
    assert torch.allclose(x[0, 0], (torch.arange(5) + 0.5) / 2.5 - 1, atol=1e-5)
    assert torch.allclose(y[0, :, 0], (torch.arange(5) + 0.5) / 2.5 - 1, atol=1e-5)


def test_a_camera_that_sees_nothing_is_refused():
    for bad in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="half_height"):
            Camera(half_height=bad)
