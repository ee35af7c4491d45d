"""`lineament data check gmpi`: the tree of the published program, whole, in part, and with what is wrong in it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.data import trees

from lineament.cli.main import main
from lineament.methods.gmpi.pose_formats import write_coefficients
from lineament.pipeline.prepare import check_tree

CAMERA = torch.eye(4, dtype=torch.float64)
CAMERA[2, 3] = 1.0


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data sets with the true names and few small images."""
    sets = []
    for each in check_tree.published_sets():
        if each.recipe == "gmpi-ffhq1024":
            continue
        images = each.images.replace("256x256", "16x16").replace("1024x1024", "16x16")
        sets.append(replace(each, side=32 if each.recipe == "gmpi-ffhq512" else 16, count=5, images=images))
    monkeypatch.setattr(check_tree, "published_sets", lambda: sets)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    runtime = tmp_path / "runtime_dataset"
    names = trees.make_ffhq(runtime / "ffhq16x16.zip")
    poses = runtime / "ffhq16_deep3dface_coeffs"
    for name in names[1:]:
        write_coefficients(poses / name.replace(".png", ".mat"), CAMERA)
    (poses / "fail_list.txt").write_text(f"{names[0]}\n")
    trees.make_afhq(runtime / "afhq_v2_train_cat_512")
    for name in trees.make_metfaces(runtime / "metfaces16x16_xflip"):
        for end in (".mat", "_xflip.mat"):
            write_coefficients(
                runtime / "metfaces_xflip_deep3dface_coeffs" / "coeffs" / name.replace(".png", end), CAMERA
            )
    (runtime / "metfaces_xflip_deep3dface_coeffs" / "fail_list.txt").write_text("\n")
    for each in check_tree.published_sets():
        path = tmp_path / each.network
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x80\x04N.")
    return tmp_path


def check(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(["data", "check", "gmpi", str(root)])
    return code, capsys.readouterr().out


def test_a_whole_tree_is_ready(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for root in (tree, tree / "runtime_dataset"):
        code, told = check(root, capsys)
        assert code == 0
        lines = told.splitlines()
        assert lines[0] == "ready    gmpi-ffhq256  5 images; 4 poses, 1 failures; its StyleGAN2"
        assert lines[1].startswith("absent   gmpi-ffhq512") and len(lines) == 4
        assert "4 images of the 5 that were published" in lines[2] and lines[2].startswith(
            "ready    gmpi-afhqcat"
        )
        assert (
            lines[3]
            == "ready    gmpi-metfaces 6 images of the 5 that were published; 6 poses, 0 failures; its StyleGAN2"
        )


def test_what_is_not_there_is_named(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(tree / "ckpts")
    shutil.rmtree(tree / "runtime_dataset" / "metfaces_xflip_deep3dface_coeffs" / "coeffs")
    (tree / "runtime_dataset" / "ffhq16_deep3dface_coeffs" / "fail_list.txt").unlink()
    code, told = check(tree, capsys)
    # An image without a pose that no list explains is a fault.
    assert code == 1 and "1 images have no pose (00000/img00000000.png" in told
    assert "lacks runtime_dataset/ffhq16_deep3dface_coeffs/fail_list.txt" in told
    assert "lacks ckpts/stylegan2_pretrained/afhqcat.pkl" in told
    assert "lacks runtime_dataset/metfaces_xflip_deep3dface_coeffs/coeffs" in told


def test_what_is_wrong_is_counted_and_named(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runtime = tree / "runtime_dataset"
    poses = runtime / "ffhq16_deep3dface_coeffs" / "00000"
    (poses / "img00000001.mat").write_bytes(b"torn")
    (poses / "img00000002.mat").rename(poses / "img00000099.mat")
    labels = json.loads((runtime / "afhq_v2_train_cat_512" / "dataset.json").read_text())
    labels["labels"].pop()
    (runtime / "afhq_v2_train_cat_512" / "dataset.json").write_text(json.dumps(labels))
    (runtime / "metfaces16x16_xflip" / "00000-00_xflip.png").unlink()
    (tree / "ckpts" / "stylegan2_pretrained" / "metfaces.pkl").write_text("<html>not found</html>")
    code, told = check(tree, capsys)
    assert code == 1
    for words in (
        "1 poses cannot be read (00000/img00000001: ",
        "1 images have no pose (00000/img00000002.png",
        "1 poses have no image (00000/img00000099",
        "1 of its images cannot be used (dataset.json or flips) (00000/img00000000.png: dataset.json has no pose",
        "(00000-00.png: it has no flip)",
        "metfaces.pkl is no pickle of StyleGAN2-ADA",
    ):
        assert words in told, (words, told)
    assert told.count("faulty") == 3
    (runtime / "ffhq16x16.zip").write_bytes(b"torn")
    assert "cannot be opened as a zip archive" in check(tree, capsys)[1]


def test_a_folder_without_any_of_it_and_flags_that_do_nothing_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for root, flags, code, words in (
        (tmp_path, [], 1, "holds none of ffhq16x16.zip"),
        (tmp_path / "none", [], 1, "there is no folder"),
        (tmp_path, ["--split", "val"], 2, "--split: changes nothing"),
    ):
        assert main(["data", "check", "gmpi", str(root), *flags]) == code
        error = capsys.readouterr().err
        assert words in error and "Traceback" not in error
