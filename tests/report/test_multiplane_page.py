"""The page of a multiplane image, in a real browser."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from tests.browser import Shown

from lineament.errors import DataError
from lineament.geometry.multiplane import MultiplaneImage, SphereCameras
from lineament.methods.gmpi.datasets import SCENES
from lineament.methods.gmpi.planes import make_planes
from lineament.methods.gmpi.renderer import Mpi, Renderer
from lineament.report.multiplane_page import multiplane_page, write_multiplane_page

SCENE = SCENES["ffhq256"]
CAMERAS = SphereCameras(
    SCENE.fov, SCENE.centre_z, SCENE.radius, SCENE.poses.yaw_range, SCENE.poses.pitch_range
)
# (yaw, pitch), the last one at two limits.
POSES = [(0.0, 0.0), (0.4, 0.1), (-0.4, -0.1), (0.2, -0.2), (-0.57, 0.25)]
WITHIN = 3 / 255


def made(count: int = 32, height: int = 64, width: int = 64, seed: int = 0) -> MultiplaneImage:
    """Random opacities and colours, smooth as those of faces are: a few texels."""
    draw = np.random.default_rng(seed)

    def blurred(*shape: int) -> torch.Tensor:
        noise = ndimage.gaussian_filter(draw.random(shape), (0, 2, 2), mode="wrap")
        spread = (noise - noise.min()) / (noise.max() - noise.min())
        return torch.from_numpy(np.round(spread * 255) / 255).float()

    alpha = (1.6 * blurred(count, height, width) - 0.8).clamp(0, 1).mul(255).round() / 255
    alpha[-1] = 1
    colour, background = blurred(3, height, width), blurred(3, height, width)
    return MultiplaneImage(colour, background, alpha, make_planes(SCENE, count), CAMERAS, {"seed": seed})


def opened(shown: Shown) -> Shown:
    shown.page.evaluate("() => lineament.started")
    return shown


def seen(shown: Shown, pose: tuple[float, float], height: int, width: int) -> torch.Tensor:
    values = shown.page.evaluate(
        "([pose, wide, tall]) => Array.from(lineament.image(pose, wide, tall))", [list(pose), width, height]
    )
    return torch.tensor(values).view(height, width, 4)[..., :3].permute(2, 0, 1) / 255


def pose_of(shown: Shown) -> list[float]:
    return shown.page.evaluate("() => lineament.state.pose")


def test_it_shows_what_the_renderer_shows(tmp_path: Path, show_page: Callable[[Path], Shown]):
    image = made()
    page = write_multiplane_page(tmp_path / "a.html", image, "A face", "Seed 0 & more")
    shown = opened(show_page(page))
    yaw, pitch = torch.tensor(POSES, dtype=torch.float64).T
    expected = image.render(yaw, pitch, 96, outside="clamp")
    renderer = Renderer(SCENE, len(image.planes))
    mpi = Mpi(image.alpha[None], image.colour[None], image.background[None])
    gmpi = renderer.render(mpi, torch.stack([pitch, yaw], 1), 96, outside="clamp").image / 2 + 0.5
    for number, pose in enumerate(POSES):
        found = seen(shown, pose, 96, 96)
        assert float((found - expected.image[number]).abs().max()) <= WITHIN
        assert float((found - gmpi[number]).abs().max()) <= WITHIN
    # The poses differ by far more than that.
    assert float((expected.image[1] - expected.image[2]).abs().max()) > 0.2
    shown.page.keyboard.press("d")
    depth = seen(shown, POSES[1], 96, 96)
    assert float((depth - image.depth_share(expected.depth[1])).abs().max()) <= WITHIN
    assert float(depth.std()) > 0.02
    assert not shown.faults and not shown.outside
    assert shown.page.title() == "A face" and "Seed 0 & more" in shown.page.inner_text("body")


def test_an_image_that_is_not_square(tmp_path: Path, show_page: Callable[[Path], Shown]):
    square = made(5, 40, 60, seed=1)
    planes = square.planes.clone()
    planes[:, 2] *= 1.5
    cameras = replace(CAMERAS, aspect=1.5, yaw_limits=(-0.2, 0.4))
    image = replace(square, planes=planes, cameras=cameras)
    shown = opened(show_page(write_multiplane_page(tmp_path / "a.html", image, "wide")))
    assert pose_of(shown)[0] == pytest.approx(0.1)
    yaw, pitch = torch.tensor([0.3]), torch.tensor([-0.1])
    expected = image.render(yaw, pitch, 90, outside="clamp").image[0]
    assert float((seen(shown, (0.3, -0.1), 60, 90) - expected).abs().max()) <= WITHIN
    box = shown.page.locator("canvas").bounding_box()
    assert box is not None and box["width"] / box["height"] == pytest.approx(1.5, rel=0.01)


def test_dragging_turns_it_within_the_limits(tmp_path: Path, show_page: Callable[[Path], Shown]):
    shown = opened(show_page(write_multiplane_page(tmp_path / "a.html", made(4, 16, 16), "drag")))
    page = shown.page
    box = page.locator("canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = page.screenshot(clip=box)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y + 30, steps=3)
    page.wait_for_timeout(150)
    page.mouse.up()
    yaw, pitch = pose_of(shown)
    # To the left and down: seen from the right and from above. Held still, it stays.
    assert yaw > 0.05 and pitch > 0.02
    page.wait_for_timeout(200)
    assert pose_of(shown) == [yaw, pitch]
    assert page.screenshot(clip=box) != before
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 400, y + 2000, steps=4)
    page.mouse.move(x - 3000, y + 2000, steps=4)
    page.mouse.up()
    limits = [SCENE.poses.yaw_range[1], SCENE.poses.pitch_range[1]]
    assert pose_of(shown) == pytest.approx(limits)
    page.dblclick("canvas")
    assert pose_of(shown) == pytest.approx([0, 0])
    assert not shown.faults


# Tells the canvas of a finger that goes through these places, one each frame, and is lifted (or called off) at once.
FINGER = """async ([places, end]) => {
  const canvas = document.querySelector("canvas");
  const box = canvas.getBoundingClientRect();
  canvas.setPointerCapture = () => {};
  const tell = (name, place) => canvas.dispatchEvent(new PointerEvent(name, {pointerId: 7, pointerType: "touch",
    clientX: box.x + box.width / 2 + place, clientY: box.y + box.height / 2, bubbles: true}));
  lineament.turn([0, 0]);
  tell("pointerdown", 0);
  for (const place of places) {
    await new Promise(requestAnimationFrame);
    tell("pointermove", place);
  }
  const released = lineament.state.pose[0];
  tell(end, places.at(-1));
  return released;
}"""


def test_a_flung_image_goes_on_and_comes_to_rest(tmp_path: Path, show_page: Callable[[Path], Shown]):
    shown = opened(show_page(write_multiplane_page(tmp_path / "a.html", made(4, 16, 16), "fling")))
    page = shown.page
    at_rest = "() => lineament.state.speed.every(value => value === 0)"
    released = page.evaluate(FINGER, [[10, 20, 30], "pointerup"])
    assert released < 0
    page.wait_for_function(at_rest)
    assert SCENE.poses.yaw_range[0] - 1e-9 <= pose_of(shown)[0] < released
    # Nothing goes on where the touch is called off, or where people ask for less motion.
    released = page.evaluate(FINGER, [[-10, -20, -30], "pointercancel"])
    assert pose_of(shown)[0] == released > 0
    page.emulate_media(reduced_motion="reduce")
    page.reload()
    opened(shown)
    released = page.evaluate(FINGER, [[10, 20, 30], "pointerup"])
    assert pose_of(shown)[0] == released < 0
    assert page.evaluate(at_rest)
    assert page.evaluate("() => getComputedStyle(document.querySelector('canvas')).touchAction") == "none"


def test_keys_and_controls(tmp_path: Path, show_page: Callable[[Path], Shown]):
    image = made(4, 16, 16)
    shown = opened(show_page(write_multiplane_page(tmp_path / "a.html", image, "keys")))
    page = shown.page
    for key, axis, sign in (
        ("ArrowRight", 0, 1),
        ("ArrowLeft", 0, -1),
        ("ArrowUp", 1, 1),
        ("ArrowDown", 1, -1),
    ):
        page.keyboard.press("Home")
        page.keyboard.press(key)
        assert pose_of(shown)[axis] == pytest.approx(sign * math.radians(2))
        for _ in range(30):
            page.keyboard.press(key)
        limits = (SCENE.poses.yaw_range, SCENE.poses.pitch_range)[axis]
        assert pose_of(shown)[axis] == pytest.approx(limits[(sign + 1) // 2])
    page.click("#reset")
    assert pose_of(shown) == pytest.approx([0, 0])
    for key in "[]]]":
        page.keyboard.press(key)
    page.wait_for_function("() => document.getElementById('which').textContent === '2 of 4'")
    assert page.input_value("#plane") == "2"
    # One plane alone lies over a chequered ground.
    alone = seen(shown, (0.0, 0.0), 24, 24)
    alpha = image.alpha[1:2].expand(3, -1, -1)
    one = replace(image, alpha=image.alpha[1:2], planes=image.planes[1:2], background=image.colour)
    plane = one.render(torch.zeros(1), torch.zeros(1), 24, outside="zero")
    ground = (alone - plane.image[0]) / (1 - plane.opacity[0]).clamp(min=0.2)
    clear = (plane.opacity[0] < 0.5).expand(3, -1, -1)
    assert alpha.std() > 0 and bool(((ground[clear] > 0.42) & (ground[clear] < 0.58)).all())
    page.fill("#plane", "0")
    page.wait_for_function("() => document.getElementById('which').textContent === 'all'")
    page.check("#depth")
    assert page.evaluate("() => lineament.state.depth") is True
    page.keyboard.press("d")
    assert page.evaluate("() => lineament.state.depth") is False
    assert not shown.faults


def test_sliders_and_help_without_a_mouse(tmp_path: Path, show_page: Callable[[Path], Shown]):
    shown = opened(show_page(write_multiplane_page(tmp_path / "a.html", made(4, 16, 16), "help")))
    page = shown.page
    for name, axis, limits in (("Side", 0, SCENE.poses.yaw_range), ("Up", 1, SCENE.poses.pitch_range)):
        slider = page.get_by_role("slider", name=name)
        slider.focus()
        page.keyboard.press("End")
        assert pose_of(shown)[axis] == pytest.approx(limits[1])
        degrees = f"{math.degrees(limits[1]):.1f}°"
        page.wait_for_function(f"() => document.activeElement.ariaValueText === '{degrees}'")
    before = pose_of(shown)
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="How to look around")
    assert sheet.is_visible() and f"{math.degrees(SCENE.poses.yaw_range[1]):.1f}°" in sheet.inner_text()
    # The keys belong to the sheet while it is open, and focus goes back to where it was.
    page.keyboard.press("Home")
    page.keyboard.press("d")
    assert pose_of(shown) == before and page.evaluate("() => lineament.state.depth") is False
    page.keyboard.press("Escape")
    assert sheet.is_hidden() and page.evaluate("() => document.activeElement.id") == "pitch"
    page.get_by_role("button", name="Help").click()
    page.get_by_role("button", name="Close").click()
    assert sheet.is_hidden() and pose_of(shown) == before
    for size in ((390, 780), (1280, 420)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        # A page is laid out anew with its next image.
        page.wait_for_function(
            "() => document.documentElement.scrollWidth <= innerWidth"
            " && document.querySelector('canvas').getBoundingClientRect().right <= innerWidth"
        )
        box = page.locator("canvas").bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= size[0] and box["width"] > 150
    assert not shown.faults


def test_without_webgl_it_says_so(tmp_path: Path, show_page: Callable[[Path], Shown]):
    page = tmp_path / "a.html"
    text = multiplane_page(made(2, 8, 8), "none")
    page.write_text(text.replace('getContext("webgl2"', 'getContext("webgl9"'))
    shown = show_page(page)
    shown.page.wait_for_selector("#fault:visible")
    assert "WebGL2" in shown.page.inner_text("#fault")


def test_words_of_others_cannot_become_part_of_the_page():
    image = replace(made(2, 8, 8), facts={"photo": "</script><script>alert(1)</script>"})
    text = multiplane_page(image, '"><b>', "<i>@SCENE@</i>")
    assert "<script>alert" not in text and "<b>" not in text and "<i>" not in text
    assert "://" not in text


@pytest.mark.parametrize("size", [(8, 2049), (2049, 8)])
def test_what_no_browser_takes_is_refused(size):
    with pytest.raises(DataError, match="browsers take textures of 2048 px"):
        multiplane_page(made(1, *size), "large")
