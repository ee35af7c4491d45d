"""`lineament export`: every exportable model computes the same elsewhere; what cannot be exported says why."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from playwright.sync_api import expect
from tests.browser import Shown

import lineament
from lineament.capabilities import Exportable, PlainNetwork
from lineament.cli.main import main
from lineament.data.registry import open_data
from lineament.eight_bit import to_pil, to_uint8
from lineament.faces.detection.yunet import Yunet
from lineament.pipeline.export import write as writing
from lineament.pipeline.export.plain import as_tuple, example_inputs
from lineament.pipeline.export.write import write_onnx, write_pt2
from lineament.training.registry import get_recipe

onnxruntime = pytest.importorskip("onnxruntime")
EXPORT_DOCS = Path(__file__).parents[2] / "docs" / "export.md"
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "landmarks_onnx.py"
RECIPES = [
    "landmarks",
    "dve-smallnet-16d",
    "dve-hourglass-64d",
    "fabrec-supervised",
    "depthnet-modern",
    "depthnet-aign.exp1.lamb100",
    "depthnet-exp1.lamb1.sd5.nogan.learnm",
]


def session(path: Path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name in ("face-68", "yunet"):
        assert main(["export", name, "--onnx", str(folder / f"{name}.onnx")]) == 0
    return folder


def untrained(name: str) -> PlainNetwork:
    torch.manual_seed(0)
    recipe = get_recipe(name).build(preset="tiny")
    predictor = recipe.predictor({key: network.eval() for key, network in recipe.networks().items()})
    assert isinstance(predictor, Exportable)
    return predictor.plain_network()


@pytest.mark.parametrize("name", RECIPES)
def test_networks_of_every_method_compute_the_same(name: str, tmp_path: Path) -> None:
    plain = untrained(name)
    # Writing compares batches of 1 and 3; here is one of another size.
    differences = write_onnx(plain, tmp_path / "net.onnx", plain.facts)
    assert [
        name in plain.jumping or value < 1e-5 for name, value in zip(plain.outputs, differences, strict=True)
    ]
    opened = session(tmp_path / "net.onnx")
    assert [each.name for each in opened.get_inputs()] == list(plain.inputs)
    inputs = example_inputs(plain, 5, seed=9)
    fed = {key: each.numpy() for key, each in zip(plain.inputs, inputs, strict=True)}
    found = opened.run(None, fed)
    with torch.no_grad():
        wanted = as_tuple(plain.network(*inputs))
    for key, one, other in zip(plain.outputs, found, wanted, strict=True):
        assert one.shape == tuple(other.shape) and one.shape[0] == 5
        if key not in plain.jumping:
            np.testing.assert_allclose(one, other.numpy(), atol=1e-4 * max(1.0, float(np.ptp(one))))
    facts = json.loads(opened.get_modelmeta().custom_metadata_map["lineament"])
    assert set(facts["input"]) == set(plain.inputs) and set(facts["output"]) == set(plain.outputs)


def test_landmarks_of_a_hundred_faces_are_torch_s(files: Path) -> None:
    opened = session(files / "face-68.onnx")
    predictor = lineament.load("face-68").predictor
    faces = open_data("synthetic?count=10&size=112")
    images = torch.stack([faces[index].image for index in range(10)])
    images = torch.cat(
        [
            (images * gain).clamp(0, 1).roll(shift, -1)
            for gain in (0.5, 0.8, 1.0, 1.2, 1.5)
            for shift in (0, 9)
        ]
    )
    assert len(images) == 100
    for batch in (1, 3, 32):
        start = 0
        while start < len(images):
            part = images[start : start + batch]
            points, std, seen = opened.run(None, {"images": part.numpy()})
            wanted = predictor.read_many(part)  # type: ignore[attr-defined]
            for one, other, limit in zip((points, std, seen), wanted, (1e-4, 1e-4, 1e-3), strict=True):
                assert float(np.abs(one - other.numpy()).max()) < limit
            start += max(batch, len(images) // 3)


def test_the_detector_is_decoded_at_any_size(files: Path) -> None:
    opened = session(files / "yunet.onnx")
    astronaut = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None].float() / 255
    for image in (astronaut, astronaut[..., :352, 96:448], astronaut[..., ::2, ::2].contiguous()):
        scores, boxes, points = (each[0] for each in opened.run(None, {"images": image.numpy()}))
        (face, *_) = Yunet()(image)[0]
        best = int(scores.argmax())
        assert scores[best] == pytest.approx(float(face.score), abs=1e-4)
        np.testing.assert_allclose(boxes[best], face.box.numpy(), atol=1e-2)
        assert face.points is not None
        np.testing.assert_allclose(points[best], face.points.numpy(), atol=1e-2)


def test_the_example_agrees_with_the_package(files: Path, tmp_path: Path) -> None:
    """Numpy, pillow and onnxruntime alone; no part of this package is imported."""
    photo = tmp_path / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(photo)
    compare(photo, files)
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) <= 120 and "import lineament" not in text and "torch" not in text


@pytest.mark.slow
def test_the_example_agrees_on_portraits(files: Path, packs: Path, tmp_path: Path) -> None:
    for name in ("gray", "colour"):
        portraits = open_data(f"portraits:{packs / f'congress_portraits_{name}'}?split=test")
        for index in range(10):
            photo = tmp_path / f"{name}-{index}.png"
            to_pil(to_uint8(portraits[index].image)).convert("RGB").save(photo)
            compare(photo, files)


@pytest.mark.slow
def test_the_page_agrees_with_the_package(
    files: Path, packs: Path, tmp_path: Path, show_page: Callable[[Path | str], Shown]
) -> None:
    """As docs/export.md lays its folder out, with the version of onnxruntime-web that it names."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm here, which keeps onnxruntime-web")
    (version,) = set(re.findall(r"onnxruntime-web@([0-9.]+)", EXPORT_DOCS.read_text()))
    got = subprocess.run([npm, "pack", f"onnxruntime-web@{version}"], cwd=tmp_path, capture_output=True)
    if got.returncode:
        pytest.skip(f"npm has no onnxruntime-web {version}: {got.stderr.decode()[-200:]}")
    page = tmp_path / "page"
    (page / "ort").mkdir(parents=True)
    with tarfile.open(tmp_path / f"onnxruntime-web-{version}.tgz") as packed:
        for name in ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
            member = packed.extractfile(f"package/dist/{name}")
            assert member is not None
            (page / "ort" / name).write_bytes(member.read())
    for path in (EXAMPLE.with_name("landmarks_browser.html"), files / "yunet.onnx", files / "face-68.onnx"):
        shutil.copy(path, page)
    photos = [tmp_path / "astronaut.png"]
    Image.fromarray(skimage.data.astronaut()).save(photos[0])
    for name in ("gray", "colour"):
        portraits = open_data(f"portraits:{packs / f'congress_portraits_{name}'}?split=test")
        for index in range(10):
            photos.append(tmp_path / f"{name}-{index}.png")
            to_pil(to_uint8(portraits[index].image)).convert("RGB").save(photos[-1])
    with served(page) as address:
        shown = show_page(f"{address}/landmarks_browser.html")
        said, result = shown.page.locator("#said"), shown.page.locator("#result")
        expect(said).to_have_text("Ready.", timeout=60_000)
        for photo in photos:
            shown.page.evaluate("document.getElementById('said').textContent = ''")
            shown.page.set_input_files("#file", photo)
            expect(said).to_contain_text("1 face", timeout=120_000)
            agree(json.loads(result.text_content() or "")["faces"][0], photo)
        assert not shown.faults and not shown.outside
    from_disk = show_page(page / "landmarks_browser.html")
    expect(from_disk.page.locator("#said")).to_contain_text("http.server --bind 127.0.0.1")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def compare(photo: Path, files: Path) -> None:
    words = [sys.executable, str(EXAMPLE), str(photo), str(files / "yunet.onnx"), str(files / "face-68.onnx")]
    done = subprocess.run(words, capture_output=True, check=True, text=True)
    agree(json.loads(done.stdout)["faces"][0], photo)


def agree(found: dict[str, Any], photo: Path) -> None:
    (face, *_) = lineament.load()(photo)
    left, right = face.landmarks[face.scheme.ocular_points()]
    off = (torch.tensor(found["landmarks"]) - face.landmarks).norm(dim=1) / (left - right).norm()
    assert 100 * float(off.mean()) < 1.0, photo


def test_a_program_of_torch_is_written_whole(tmp_path: Path) -> None:
    plain = untrained("landmarks")
    path = tmp_path / "net.pt2"
    assert max(write_pt2(plain, path, plain.facts)) < 1e-6
    kept = {"lineament": ""}
    program = torch.export.load(str(path), extra_files=kept)
    assert json.loads(kept["lineament"])["input"]["images"]["channels"] == "RGB"
    inputs = example_inputs(plain, 4, seed=3)
    with torch.no_grad():
        for one, other in zip(program.module()(*inputs), plain.network(*inputs), strict=True):
            torch.testing.assert_close(one, other)


def test_a_folder_is_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "face-68", "--folder", str(tmp_path / "mine")]) == 0
    model = lineament.load(tmp_path / "mine")
    first = lineament.load("face-68")
    photo = skimage.data.astronaut()
    torch.testing.assert_close(model(photo)[0].landmarks, first(photo)[0].landmarks, atol=0, rtol=0)
    assert main(["export", "face-68", "--folder", str(tmp_path / "mine")]) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_bad_wishes_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*words: str, code: int, says: str) -> None:
        assert main(["export", *words]) == code
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and says in error, error

    there = tmp_path / "there.onnx"
    there.write_bytes(b"mine")
    fails("face-68", code=2, says="--onnx FILE")
    fails("face-68", "--onnx", str(there), code=1, says="--overwrite")
    fails("face-68", "--onnx", str(tmp_path), code=2, says="is a folder")
    fails("face-86", "--onnx", str(tmp_path / "a.onnx"), code=1, says="face-68")
    fails("face-68", "--onnx", str(tmp_path / "a.onnx"), "--card", "card.yaml", code=2, says="--folder")
    # What differs is not kept, and what was there stays.
    monkeypatch.setattr(writing, "TOLERANCE", -1.0)
    fails("yunet", "--onnx", str(there), "--overwrite", code=1, says="nothing was written")
    assert there.read_bytes() == b"mine" and not list(tmp_path.glob("a.onnx*"))
    monkeypatch.undo()

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    fails("yunet", "--onnx", str(tmp_path / "a.onnx"), code=2, says="lineament[export]")


def test_what_no_network_computes_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "fabrec-ae", "--preset", "tiny", "--data", "synthetic?count=4&size=64"]
    assert main([*words, "--run", str(tmp_path / "ae"), "--steps", "1"]) == 0
    capsys.readouterr()
    assert main(["export", str(tmp_path / "ae"), "--onnx", str(tmp_path / "ae.onnx")]) == 2
    error = capsys.readouterr().err
    assert "autoencoder" in error and error.count("\n") == 1
