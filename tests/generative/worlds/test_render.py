import math

import pytest
import torch
from torch.nn.functional import grid_sample, max_pool2d

from generative.worlds import render as render_module
from generative.worlds.portraits import (
    BACKDROP,
    FACTORS,
    PARTS,
    STAND,
    Camera,
    columns,
    render,
    replace,
    sample,
)
from tests import elsewhere

PEOPLE = sample(24, torch.Generator().manual_seed(11))
PLAIN = replace(
    PEOPLE[:12],
    yaw=0.1,
    pitch=0.0,
    glasses=0.0,
    beard=0.0,
    hat=0.0,
    hair_length=0.2,
    fringe=0.3,
    skin_tone=0.3,
)


def label(name: str) -> int:
    return PARTS.index(name)


def near(mask: torch.Tensor, pixels: int) -> torch.Tensor:
    """The mask (N, H, W) grown by some pixels."""
    size = 2 * pixels + 1
    return max_pool2d(mask.float()[:, None], size, stride=1, padding=pixels)[:, 0] > 0


def change(factors: torch.Tensor, name: str, low: float, high: float) -> torch.Tensor:
    """Per pixel (N, 64, 64), how far a picture moves with a factor."""
    a, b = (render(replace(factors, **{name: value}), 64).image for value in (low, high))
    return (a - b).abs().amax(1)


@pytest.mark.parametrize("size", [33, 64])
def test_a_portrait_is_the_same_to_the_last_bit_alone_and_in_a_batch(size):
    together = render(PEOPLE, size, truth=True)
    for i in (0, 5, 23):
        alone = render(PEOPLE[i : i + 1], size, truth=True)
        assert all(torch.equal(a[0], b[i]) for a, b in zip(alone, together, strict=True))


def test_a_portrait_does_not_depend_on_how_the_work_is_cut(monkeypatch):
    whole = render(PEOPLE[:3], 48, truth=True)
    monkeypatch.setitem(render_module.RAYS_AT_ONCE, "cpu", 3_000)
    assert all(torch.equal(a, b) for a, b in zip(render(PEOPLE[:3], 48, truth=True), whole, strict=True))


def test_a_portrait_does_not_depend_on_the_number_of_threads():
    threads = torch.get_num_threads()
    pictures = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            pictures.append(render(PEOPLE[:3], 96).image)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*pictures)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_renders_the_same_portraits():
    here, there = render(PEOPLE, truth=True), render(PEOPLE.cuda(), truth=True)
    assert (here.image - there.image.cpu()).abs().max() < 1 / 255
    assert (here.parts == there.parts.cpu()).float().mean() > 0.9999


def test_another_device_renders_the_same_portraits():
    here, there = render(PEOPLE[:3], 32, truth=True), render(PEOPLE[:3].to(elsewhere.NAME), 32, truth=True)
    assert all(torch.equal(a, b.cpu()) for a, b in zip(here, there, strict=True))


def test_shapes_types_and_ranges_are_as_documented():
    image, parts, depth, normals = render(PEOPLE, 32, truth=True)
    assert image.shape == (24, 3, 32, 32) and image.dtype == torch.float32
    assert image.min() >= -1 and image.max() <= 1 and image.std() > 0.2
    assert parts.shape == (24, 32, 32) and parts.dtype == torch.uint8 and parts.max() < len(PARTS)
    assert depth.shape == (24, 1, 32, 32) and normals.shape == (24, 3, 32, 32)
    assert torch.equal(depth[:, 0] == BACKDROP, parts == 0)
    assert torch.allclose(normals.norm(dim=1), torch.ones(24, 32, 32), atol=1e-5)
    assert render(PEOPLE[:0], 32, truth=True).depth.shape == (0, 1, 32, 32)
    assert render(PEOPLE, 32).parts is None


def test_every_part_shows_somewhere():
    people = sample(60, torch.Generator().manual_seed(0))
    counts = torch.bincount(render(people, 64, truth=True).parts.flatten().long(), minlength=len(PARTS))
    assert (counts > 60).all(), dict(zip(PARTS, counts.tolist(), strict=True))


@pytest.mark.parametrize(
    ("name", "part"),
    [("glasses", "glasses"), ("beard", "beard"), ("hat", "hat"), ("earrings", "earrings")],
)
def test_what_a_binary_factor_adds_is_labelled_and_only_then(name, part):
    people = replace(PLAIN, hair_length=0.0)
    without, worn = (render(replace(people, **{name: v}), 64, truth=True).parts for v in (0.0, 1.0))
    assert not (without == label(part)).any()
    assert (worn == label(part)).flatten(1).any(1).all()


# A smile lifts the cheeks too: half of all its change lies in the 3 % of the picture around the mouth.
@pytest.mark.parametrize(
    ("name", "part", "share"),
    [
        ("smile", "mouth", 0.45),
        ("mouth_open", "mouth", 0.95),
        ("brow", "brows", 0.95),
        ("nose_size", "nose", 0.9),
    ],
)
def test_moving_a_factor_moves_the_pixels_of_its_part(name, part, share):
    low, high = next((f.low, f.high) for f in FACTORS if f.name == name)
    moved = change(PLAIN, name, low, high)
    masks = [render(replace(PLAIN, **{name: v}), 64, truth=True).parts == label(part) for v in (low, high)]
    mask = near(masks[0] | masks[1], 2)
    assert (moved * mask).sum() > share * moved.sum()
    assert (moved * mask).flatten(1).amax(1).min() > 0.1


@pytest.mark.parametrize("name", ["gaze", "iris_color"])
def test_eyes_move_and_take_colour_within_their_own_masks(name):
    low, high = (-1, 1) if name == "gaze" else (0, 2)
    parts = render(PLAIN, 64, truth=True).parts
    eyes = near((parts == label("left eye")) | (parts == label("right eye")), 1)
    moved = change(PLAIN, name, low, high)
    assert (moved > 1e-6).any() and (moved[~eyes] < 1e-6).all()


# Of each factor the parts that show it, and how much of them changes visibly from one end to the other.
@pytest.mark.parametrize(
    ("name", "parts", "least"),
    [
        ("hair_color", ("hair", "brows"), 0.99),
        ("shirt_color", ("shirt",), 0.99),
        ("background", ("background",), 0.99),
        ("skin_tone", ("skin", "nose", "ears", "neck", "mouth"), 0.97),
        ("age", ("skin", "nose", "mouth"), 0.2),
        ("brow", ("brows",), 0.95),
        ("mouth_open", ("mouth",), 0.95),
        ("gaze", ("left eye", "right eye"), 0.85),
        ("iris_color", ("left eye", "right eye"), 0.6),
        ("earrings", ("earrings",), 0.95),
        ("hair_volume", ("hair",), 0.5),
        ("collar", ("shirt", "neck"), 0.2),
    ],
)
def test_moving_a_factor_changes_its_own_parts_and_nothing_else(name, parts, least):
    people = replace(PLAIN, hair_length=0.6)
    low, high = next((f.low, f.high) for f in FACTORS if f.name == name)
    moved = change(people, name, low, high)
    own = torch.zeros(moved.shape, dtype=torch.bool)
    for value in (low, high):
        labels = render(replace(people, **{name: value}), 64, truth=True).parts
        own |= torch.isin(labels, torch.tensor([label(part) for part in parts], dtype=torch.uint8))
    assert (moved[own] > 0.05).float().mean() > least
    assert moved[~near(own, 2)].max() < 0.01  # hair throws a soft shade on the skin beside it


@pytest.mark.parametrize(("name", "share"), [("glasses", 0.93), ("beard", 0.96)])
def test_what_is_put_on_changes_its_own_pixels_and_a_shade_around_them(name, share):
    people = replace(PLAIN, hair_length=0.6)
    own = near(render(replace(people, **{name: 1.0}), 64, truth=True).parts == label(name), 1)
    moved = change(people, name, 0.0, 1.0)
    assert ((moved * own).flatten(1).sum(1) > share * moved.flatten(1).sum(1)).all()
    assert own.float().mean() < 0.12


def test_a_smile_stays_in_the_face_below_the_brows():
    moved = change(PLAIN, "smile", -1.0, 1.0) > 0.02
    parts = render(PLAIN, 64, truth=True).parts
    outside = torch.isin(
        parts,
        torch.tensor([label(p) for p in ("background", "hair", "shirt", "ears")], dtype=torch.uint8),
    )
    inner = ~near(~outside, 1)
    assert moved.any() and not moved[inner].any()
    brows = (parts == label("brows")).any(2)
    above = brows.float().argmax(1)[:, None] > torch.arange(64)  # rows above the highest brow of each
    assert not (moved.any(2) & above).any()


def test_glasses_change_pixels_at_the_eyes_and_nowhere_else():
    moved = change(PLAIN, "glasses", 0.0, 1.0) > 1e-6
    rows = moved.any(2).any(0).nonzero()
    eyes = render(PLAIN, 64, truth=True).parts == label("left eye")
    eye_rows = eyes.any(2).any(0).nonzero()
    assert moved.flatten(1).sum(1).min() > 100
    assert (rows.min() > eye_rows.min() - 8) and (rows.max() < eye_rows.max() + 8)


@pytest.mark.parametrize("factor", FACTORS, ids=lambda f: f.name)
def test_every_factor_can_be_seen(factor):
    people = replace(PLAIN, hair_length=0.7, age=0.5)
    assert (change(people, factor.name, factor.low, factor.high) > 0.05).flatten(1).sum(1).min() >= 3


def test_a_turned_head_shows_its_nose_on_the_side_it_turns_to():
    for sign in (-1, 1):
        parts = render(replace(PLAIN, yaw=0.4 * sign), 64, truth=True).parts
        column = (parts == label("nose")).nonzero()[:, 2].float().mean()
        assert sign * (column - 31.5) > 5


def test_the_left_eye_is_the_persons_own():
    parts = render(PLAIN, 64, truth=True).parts
    left, right = (
        (parts == label(f"{side} eye")).nonzero()[:, 2].float().mean() for side in ("left", "right")
    )
    assert left > right


def test_the_side_to_the_light_is_brighter():
    people = replace(PLAIN, yaw=0.0, light_elevation=0.2)
    skin = render(people, 64, truth=True).parts == label("skin")
    right = torch.arange(64) >= 32
    for azimuth in (-1.0, 1.0):
        light = render(replace(people, light_azimuth=azimuth), 64).image.mean(1)
        difference = light[skin & right].mean() - light[skin & ~right].mean()
        assert difference * azimuth > 0.1


def test_every_point_that_one_camera_sees_lies_on_the_surface_that_another_meets():
    person = PEOPLE[2:3]
    front = render(person, 24, truth=True)
    points = Camera().points(front.depth)[0][:, front.parts[0] > 0].T
    met = 0
    for point in points[::9].tolist():
        aimed = Camera(yaw=0.7, pitch=0.3, half_height=1e-3, target=(point[0], point[1], point[2]))
        depth = render(person, 1, 1, aimed, truth=True).depth.item()
        assert depth < STAND + 1e-4, "the other camera looks through a surface"
        met += depth > STAND - 1e-4
    assert met > 0.5 * len(points[::9])


def test_the_depth_of_two_views_agrees_where_both_see():
    a, b = Camera(), Camera(yaw=0.35, pitch=-0.2, half_height=1.2, target=(0.05, 0.0, 0.1))
    seen, other = (render(PEOPLE[:6], 96, 1, camera, truth=True) for camera in (a, b))
    x, y, expected = b.project(a.points(seen.depth)).unbind(1)
    jump = max_pool2d(other.depth, 3, 1, 1) + max_pool2d(-other.depth, 3, 1, 1)
    found, rough = grid_sample(
        torch.cat([other.depth, jump], 1), torch.stack([x, y], -1), align_corners=False
    ).unbind(1)
    # Between pixels of b a depth can only be read where it is smooth.
    error = (found - expected)[(seen.parts > 0) & (x.abs() < 1) & (y.abs() < 1) & (rough < 0.05)]
    assert len(error) > 5_000 and error.abs().median() < 1e-3
    # Points that are hidden from b lie behind what it sees, never before.
    assert error.max() < 0.05 and (error.abs() < 0.01).float().mean() > 0.95


def test_a_turned_camera_and_a_turned_head_show_the_same_face():
    bare = replace(PEOPLE[:4], yaw=0.0, pitch=0.0)
    by_camera = render(bare, 64, 1, Camera(yaw=-0.3), truth=True).parts
    by_head = render(replace(bare, yaw=0.3), 64, 1, truth=True).parts
    # Body and cap of the head frame turn alike; the body turns less than the head, so compare above the neck.
    top = slice(0, 40)
    assert (by_camera[:, top] == by_head[:, top]).float().mean() > 0.995


def test_zooming_in_shows_the_same_picture_larger():
    wide = render(PEOPLE[:4], 96, 1, Camera(half_height=1.0), truth=True)
    close = render(PEOPLE[:4], 48, 1, Camera(half_height=0.5), truth=True)
    assert torch.allclose(close.depth, wide.depth[:, :, 24:72, 24:72], atol=1e-5)


def test_normals_are_the_slope_of_depth_on_smooth_skin():
    people = replace(PLAIN, smile=0.0)
    _, parts, depth, normals = render(people, 256, truth=True)
    step = 2 / 256
    slope_x = -(depth[:, 0, 1:-1, 2:] - depth[:, 0, 1:-1, :-2]) / (2 * step)
    slope_y = -(depth[:, 0, :-2, 1:-1] - depth[:, 0, 2:, 1:-1]) / (2 * step)
    true = torch.stack([-slope_x, -slope_y, torch.ones_like(slope_x)], 1)
    true = true / true.norm(dim=1, keepdim=True)
    inner = normals[:, :, 1:-1, 1:-1]
    forehead = (parts == label("skin"))[:, 1:-1, 1:-1] & (torch.arange(1, 255) < 95)[:, None]
    assert (true * inner).sum(1)[forehead].median() > 0.999


def test_more_rays_converge_to_the_same_picture():
    one, two, many = (render(PEOPLE[:4], 32, s).image for s in (1, 2, 8))
    assert (two - many).abs().mean() < 0.6 * (one - many).abs().mean()


def test_a_head_seen_from_behind_shows_hair_and_no_face():
    parts = render(PLAIN, 64, camera=Camera(yaw=math.pi), truth=True).parts
    for hidden in ("left eye", "right eye", "mouth", "nose", "brows"):
        assert not (parts == label(hidden)).any()
    assert (parts == label("hair")).float().mean() > 0.1


def test_every_tensor_is_made_on_the_device_of_the_factors():
    # What forgets to name a device is made on the default one, here one that cannot be mixed with any other.
    expected = render(PEOPLE[:6], 32, truth=True)
    camera = Camera(yaw=0.4)
    points = camera.points(expected.depth)
    with torch.device("meta"):
        found = render(PEOPLE[:6], 32, truth=True)
        again = camera.points(found.depth)
        assert camera.project(again).device.type == "cpu"
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert torch.equal(again, points)


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="size"):
        render(PEOPLE, 0)
    with pytest.raises(ValueError, match="size"):
        render(PEOPLE, 8, supersample=0)
    with pytest.raises(ValueError, match="yaw"):
        render(replace(PEOPLE, yaw=2.0))


def test_the_world_has_not_changed_its_look():
    # Shipped models were trained on these pictures. Update the numbers only together with them.
    image = render(PEOPLE[:8], 64).image
    assert columns(PEOPLE)["yaw"][:3].tolist() == pytest.approx(LOOK_YAW, abs=1e-5)
    assert image.mean((0, 2, 3)).tolist() == pytest.approx(LOOK_MEAN, abs=1e-3)
    assert image.std((0, 2, 3)).tolist() == pytest.approx(LOOK_STD, abs=1e-3)


LOOK_YAW = [0.130783, -0.053928, -0.017844]
LOOK_MEAN = [0.18943, 0.02743, 0.04450]
LOOK_STD = [0.40104, 0.31881, 0.36003]
