"""A second recording of 3FabRec from programs of our own, under other seeds, sizes and counts, in the same layout.

It shows that the tests take everything from the files, not that ours equals the reference: all programs are ours,
networks in single precision from weights moved by a rounding, as another machine would.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.parity.fabrec_goldens import as_image, as_input, filled
from tests.parity.rounding import move_weights
from tests.parity.test_fabrec_crops import corners, layout
from tests.parity.test_fabrec_datasets import MARGINS, PNG_OF_300W, sample_of
from tests.parity.test_fabrec_loss import dense_contrast_structure
from tests.parity.test_fabrec_networks import stats
from tests.parity.test_fabrec_training import LOSSES, Landmarks, Unsupervised
from torch import Tensor

from lineament.faces.crops import named_crop, published_points
from lineament.faces.schemes import convert_points, scheme
from lineament.methods.fabrec.augment import (
    AffineParams,
    affine_matrix,
    apply_affine,
    published_mirror,
    transform_points,
)
from lineament.methods.fabrec.crop import View, region_offset, region_side
from lineament.methods.fabrec.cut import cut_region
from lineament.methods.fabrec.evaluate import inner_and_outline, published_errors
from lineament.methods.fabrec.heatmaps import draw_heatmaps, read_heatmaps, smooth
from lineament.methods.fabrec.level import levelling
from lineament.methods.fabrec.loss import pixel_loss, structural_loss, window_means
from lineament.methods.fabrec.model import (
    PREFIXES,
    Fabrec,
    Layout,
    heatmaps_of,
    interpolate_codes,
    normalise_images,
    reconstruct,
    to_images,
)
from lineament.methods.fabrec.tiles import heatmap_overlay, tile_images
from lineament.metrics.landmark import area_under_curve, cumulative_curve, failure_rate
from lineament.metrics.reconstruction import (
    eight_bits,
    error_around_landmarks,
    quality_at_landmarks,
    similarity,
)

Numbers = dict[str, Any]


def write(folder: Path, seed: int) -> None:
    """Write the whole set below a folder."""
    folder.mkdir(parents=True)
    rs = np.random.RandomState(seed)
    facts: dict[str, Any] = {}

    def save(name: str, numbers: Numbers, fact: dict[str, Any] | None = None) -> None:
        tensors = {
            key: torch.as_tensor(value).detach().clone().contiguous() for key, value in numbers.items()
        }
        save_file(tensors, folder / f"{name}.safetensors")
        if fact is not None:
            facts[name] = fact

    fact = {"fill_seed": int(rs.randint(1000)), "input_size": 128, "landmarks": 19, "batch": 3}
    save("forward_128_19", forward(rs, fact), fact)
    plain = {**fact, "landmarks": None, "batch": 2}
    pictures = photographs(rs, 3 * 2, 128).view(3, 2, 128, 128, 3)
    for stage in ("1", "2", "3"):
        numbers = unsupervised(rs, plain, stage, pictures)
        save(f"unsup_stage{stage}", numbers | ({"images_u8": pictures} if stage == "1" else {}), plain)
    marked = {**fact, "landmarks": 98, "batch": 2, "sigma": 9}
    for which in ("head", "enc"):
        save(f"landmark_step_{which}", landmarks(rs, marked, which == "enc"), marked)
    save("ssim", structure(rs, 53))
    save("metrics", metrics(rs))
    save("crops_aug", crops(rs, 72))
    save("datasets", datasets(rs, 48))
    (folder / "set.json").write_text(json.dumps(facts))
    with torch.device("meta"):
        state = Fabrec(Layout(128), 19).state_dict()
    names = {k: [list(v.shape), str(v.dtype).removeprefix("torch.")] for k, v in state.items()}
    (folder / "state_dict_manifest.json").write_text(json.dumps({"128_19": names}))


def photographs(rs: np.random.RandomState, count: int, height: int, width: int | None = None) -> Tensor:
    """Smooth pictures ``[count, height, width, 3]`` of bytes."""
    found = []
    for _ in range(count):
        coarse = rs.randint(0, 256, (height // 10 + 2, (width or height) // 10 + 2, 3)).astype(np.uint8)
        found.append(
            np.array(Image.fromarray(coarse).resize((width or height, height), Image.Resampling.BICUBIC))
        )
    return torch.from_numpy(np.stack(found))


def face_points(rs: np.random.RandomState, count: int, left: float, top: float, side: float) -> Tensor:
    """Points of a scheme strewn over a square, eyes apart."""
    places = rs.uniform(0.1, 0.9, (count, 2))
    if count in (68, 98):
        left_eye = range(36, 42) if count == 68 else range(60, 68)
        for points, x in ((left_eye, 0.3), ([i + len(left_eye) for i in left_eye], 0.7)):
            places[list(points)] = [x, 0.4] + rs.normal(size=(len(points), 2)) * 0.02
    return torch.from_numpy(places * side + [left, top]).float()


@torch.no_grad()
def forward(rs: np.random.RandomState, fact: dict[str, Any]) -> Numbers:
    model = filled(fact)
    move_weights(model, 1 + fact["fill_seed"])
    networks = model.eval().networks()
    pictures = photographs(rs, fact["batch"], fact["input_size"])
    images = as_input(pictures)
    taps: dict[str, Tensor] = {}
    for name in ("layer1", "layer2", "layer4"):
        model.Q.get_submodule(name).register_forward_hook(
            lambda _m, _i, out, name=name: taps.__setitem__(name, out)
        )
    z = model.Q(images)
    stages, image = model.P.stages(z), reconstruct(networks, images)
    heatmaps = heatmaps_of(networks, images)
    noise = torch.from_numpy(rs.normal(size=(3, 99))).float()
    made = model.P(noise).image
    return {
        "image_u8": pictures,
        "z": z,
        "Q_x1_stats": stats(taps["layer1"]),
        "Q_x2_stats": stats(taps["layer2"]),
        "Q_ft_stats": stats(taps["layer4"]),
        **{f"P_x{i}_stats": stats(stage) for i, stage in enumerate(stages)},
        "P_x1": stages[1][:1],
        "P_x2": stages[2][:2],
        "recon": image[:1],
        "recon_stats": stats(image),
        "LMH_t1": model.LMH.t1(stages[1])[:1],
        "D_input": model.D(images),
        "D_recon": model.D(image),
        "D_z_z": model.D_z(z),
        "z_rand": noise,
        "gen_stats": stats(made),
        "gen_sub8": made[..., ::8, ::8],
        "interp_z": interpolate_codes(z[:1], z[-1:], 4),
        "hm_first4ch": heatmaps[:2, :3],
        "hm_smooth_first4ch": smooth(heatmaps)[:2, :3],
        "hm_stats": stats(heatmaps),
        "hm_ch_max": heatmaps.amax((2, 3)),
        "hm_ch_sum": heatmaps.double().sum((2, 3)),
        "landmarks": read_heatmaps(heatmaps, fact["input_size"], style="paper").double(),
    }


def unsupervised(rs: np.random.RandomState, fact: dict[str, Any], stage: str, pictures: Tensor) -> Numbers:
    run = Unsupervised(fact, stage, neighbour=1 + fact["fill_seed"])
    noise = torch.from_numpy(rs.normal(size=(len(pictures), fact["batch"], 99))).float()
    found: dict[str, list[Any]] = {}
    for step, each in enumerate(pictures):
        values = run.step(each, noise[step])
        row = {key: float(values[ours]) if ours in values else math.nan for key, ours in LOSSES.items()}
        judged = "image_discriminator" in values
        row["err_real"] = float(run.scores[0].mean()) if judged else math.nan
        row["ssim_torch"] = 60 * float(values["structure"]) if "structure" in values else math.nan
        row |= {"z_recon_mean": float(run.codes[0].mean()), "z_recon_std": float(run.codes[0].std())}
        for key, value in row.items():
            found.setdefault(key, []).append(value)
        for name, length in run.update.lengths.items():
            found.setdefault(f"gradnorm_{PREFIXES[name]}", []).append([step, length])
    state = run.model.state_dict()
    kept = ("D.main.0.weight", "D_z.lin1.bias", "P.fc.bias", "P.layer1.0.bn1.running_mean", "Q.fc.weight")
    arrays = {key: torch.tensor(value, dtype=torch.float64) for key, value in found.items()}
    return arrays | {f"after_{key}": state[key] for key in kept} | {"z_real": noise}


def landmarks(rs: np.random.RandomState, fact: dict[str, Any], tuned: bool) -> Numbers:
    run = Landmarks(fact, tuned, neighbour=1 + fact["fill_seed"])
    size, steps = fact["input_size"], 3
    pictures = photographs(rs, fact["batch"], size)
    points = torch.stack([face_points(rs, fact["landmarks"], 8, 8, size - 16) for _ in pictures])
    images = as_input(pictures)
    found: dict[str, list[float]] = {}
    for _ in range(steps):
        with torch.no_grad():
            pixels = float(pixel_loss(images, reconstruct(run.networks, images)))
        values = run.step(pictures, points)
        row = {"loss_recon": pixels, "loss_lms": float(values["loss"])}
        row |= {f"gradnorm_{PREFIXES[name]}": length for name, length in run.update.lengths.items()}
        for key, value in row.items():
            found.setdefault(key, []).append(value)
    with torch.no_grad():
        after = read_heatmaps(heatmaps_of(run.networks, images), size, style="paper").double()
    state = run.model.state_dict()
    return {
        **{key: torch.tensor(value, dtype=torch.float64) for key, value in found.items()},
        "image_u8": pictures,
        "landmarks": points,
        "gt_hm_ch0_3": run.recipe.targets(points)[:2, :3],
        "after_LMH.t4.weight": state["LMH.t4.weight"],
        "after_LMH.lin.weight_sum": state["LMH.lin.weight"].double().abs().sum().reshape(1),
        "after_Q.fc.bias": state["Q.fc.bias"],
        "landmarks_pred_after": after,
        "nme_after": published_errors(after, points.double(), size=size).double(),
    }


def structure(rs: np.random.RandomState, side: int) -> Numbers:
    a, b = photographs(rs, 4, side), photographs(rs, 4, side)
    # One picture without dark pixels has another range.
    a[0] = 60 + a[0] // 2
    x, y = as_input(a), as_input(b).requires_grad_()
    single = torch.zeros(1, 1, 61, 61)
    single[..., 30, 30] = 1
    window = window_means(single)[0, 0]
    maps = dense_contrast_structure(x, y.detach(), window)
    loss = structural_loss(x, y, "paper")
    loss.backward()
    pairs = list(zip(x, y.detach(), strict=True))
    ssim = [similarity(to_images(p), to_images(q)) for p, q in pairs]
    return {
        "x_u8": a,
        "y_u8": b,
        "min_x": x.amin((1, 2, 3)),
        "window": window,
        **{f"cs_map_{i}": each[None] for i, each in enumerate(maps)},
        **{f"cs_{i}": each.double().mean().reshape(1) for i, each in enumerate(maps)},
        "loss_struct": loss.detach().double().reshape(1),
        "grad_y": y.grad,
        "loss_recon": pixel_loss(x, y.detach()).double().reshape(1),
        "loss_recon_none": torch.stack([pixel_loss(p, q) for p, q in pairs]),
        "skimage_ssim_u8": torch.tensor(ssim, dtype=torch.float64),
    }


def metrics(rs: np.random.RandomState) -> Numbers:
    side = 96
    strewn = torch.from_numpy(rs.uniform(-6, side + 6, (9, 2))).float()
    found: Numbers = {"hm_lms": strewn}
    for sigma in (5.0, 8.0):
        maps, name = draw_heatmaps(strewn, side, side, sigma, "paper"), f"hm_sigma{sigma:g}"
        best = maps.flatten(1).argmax(1)
        found |= {f"{name}_max": maps.amax((1, 2)), f"{name}_sum": maps.double().sum((1, 2))}
        found[f"{name}_argmax"] = torch.stack([best % side, best // side], 1)
    found["hm_sigma8"] = maps[:3]
    middle = draw_heatmaps(torch.full((1, 2), 100.0), 200, 200, 5.0, "paper")[0]
    found["template5"] = middle[87:112, 87:112].double()
    blurred = torch.from_numpy(rs.uniform(0, 1, (3, 4, 24, 24))).float()
    found |= {"dec_in": blurred, "dec_smooth": smooth(blurred)}
    found["dec_lms_t96"] = read_heatmaps(blurred, 96, style="paper").double()
    for name in ("68_outer", "68_none", "98_outer", "5_outer"):
        count, norm = name.split("_")
        truth = torch.stack([face_points(rs, int(count), 0, 0, 96) for _ in range(7)])
        predicted = truth + torch.from_numpy(rs.normal(size=truth.shape)).float() * 3
        errors = published_errors(predicted, truth, norm, 96)
        each = errors.double().mean(1)
        found |= {f"pred_{name}": predicted, f"gt_{name}": truth, f"nme_{name}": errors}
        found[f"ced_{name}"] = torch.as_tensor(cumulative_curve(each, 10.0, 40)[1]).double()
        found[f"auc_{name}"] = torch.tensor([area_under_curve(each, 10.0, "paper")]).double()
        found[f"fr_{name}"] = torch.tensor([failure_rate(each, 10.0)]).double()
        if count != "5":
            inner, outline = inner_and_outline(errors, scheme(count))
            found |= {f"nme_inner_{name}": inner, f"nme_outer_{name}": outline}
    points = torch.from_numpy(rs.uniform(0, 96, (98, 2))).float()
    found |= {"lm98": points, "lm98_to_68": convert_points(points, "98", "68")}
    return found | pictures_of(rs, side, strewn)


def pictures_of(rs: np.random.RandomState, side: int, strewn: Tensor) -> Numbers:
    a, b = photographs(rs, 3, side), photographs(rs, 3, side)
    shown = [to_images(as_input(each)) for each in (a, b)]
    displayed = torch.stack([torch.from_numpy(eight_bits(each)) for each in shown[0]])
    tiles = [as_image(each) for each in displayed]
    white = torch.ones_like(tiles[0])
    grid = tile_images([tiles[:2], [tiles[2], white]])
    points = torch.from_numpy(rs.uniform(20, side - 20, (3, 6, 2))).float()
    qualities = [quality_at_landmarks(p, q, at) for p, q, at in zip(*shown, points, strict=True)]
    errors = [error_around_landmarks(p, q, at) / 3 for p, q, at in zip(*shown, points, strict=True)]
    heatmaps = draw_heatmaps(strewn[:1], side, side // 2, style="paper")
    return {
        "im_a": a,
        "im_b": b,
        "disp": displayed,
        "grid": torch.from_numpy(eight_bits(grid)),
        "im_lms": points,
        "lm_ssim": torch.stack([q.similarity for q in qualities]),
        "lm_ncc": torch.stack([q.correlation for q in qualities]),
        "lm_recon_err": torch.tensor(errors),
        "overlay": torch.from_numpy(eight_bits(heatmap_overlay(as_image(displayed[0]), heatmaps))),
    }


def in_bytes(picture: Tensor) -> Tensor:
    return (255 * picture).round().byte().movedim(-3, -1)


def crops(rs: np.random.RandomState, size: int) -> Numbers:
    side, height, width = region_side(size), 130, 170
    picture = photographs(rs, 1, height, width)[0]
    image = as_image(picture)
    found: Numbers = {"img": picture, "roi_size": torch.tensor([side])}
    boxes = ((35, 30, 101, 95), (-12, 40, 50, 117), (120, 60, 190, 150), (60, 60, 64, 65))
    for number, box in enumerate(map(torch.tensor, boxes)):
        key = f"bb{number}"
        tall = int(box[3] - box[1])
        grown = torch.tensor([box[0], int(box[1] - 0.20 * tall), box[2], int(box[3] + 0.12 * tall)])
        half = 0.5 * side / size * (grown[2:] - grown[:2]).max()
        middle = 0.5 * (grown[2:] + grown[:2])
        view = View(size, "box", (0.20, 0.12), "paper")
        region = view.region_of_box(box.double() - 0.5, (height, width))
        points = face_points(rs, 68, float(box[0]), float(box[1]), float(box[2] - box[0]))
        placed = published_points(points.double(), region)
        found |= {
            key: box,
            f"{key}_ext": grown,
            f"{key}_roi": torch.cat([middle - half, middle + half]).float(),
            f"{key}_tlbr": corners(region, side).round().long(),
            f"{key}_lms_in": points,
            f"{key}_lms": placed.float(),
            f"{key}_lms_inv": points,
        }
        for border in ("black", "edge", "mirror"):
            found[f"{key}_{border}"] = in_bytes(cut_region(image, region, side, border))
        if number == 0:
            found["cc_img"] = in_bytes(view.image(image, region))
            found["cc_lms"] = view.points(points.double(), scheme("68"), region).float()
    for count, levelled in ((68, 0), (98, 0), (98, 1)):
        key, points, turn = f"lm{count}_{levelled}", face_points(rs, count, 45, 30, 60), None
        found[f"{key}_in"] = points
        if levelled:
            turn = levelling(points, scheme(str(count)), published=True)
            points = turn.apply(points)
        region = named_crop("fabrec", landmarks=points, scheme=scheme(str(count)), size=size, trim=False)
        found |= {
            f"{key}_tlbr": corners(region, side).round().long(),
            f"{key}_out": published_points(points.double(), region).float(),
            f"{key}_img": in_bytes(cut_region(image, region, side, turn=turn)),
        }
    return found | moves(rs, size, found) | mirrors(rs, side)


def moves(rs: np.random.RandomState, size: int, found: Numbers) -> Numbers:
    """Level 0 mirrors only, and did here; of the other levels one picture was kept."""
    side = region_side(size)
    start, points = as_image(found["bb0_black"]), found["bb0_lms"].double()
    made: Numbers = {}
    for number in range(4):
        key, move = f"daug{number}", AffineParams(mirror=True)
        if number:
            drawn = [rs.rand() < 0.5, rs.uniform(-30, 30), *rs.uniform(-6, 6, 2), *rs.uniform(0.9, 1.1, 2)]
            drawn = [float(each) for each in [*drawn, rs.uniform(-10, 10)]]
            made[f"{key}_params"] = torch.tensor(drawn, dtype=torch.float64)
            flip, angle, tx, ty, sx, sy, shear = drawn
            move = AffineParams(flip > 0, math.radians(angle), (tx, ty), (sx, sy), math.radians(shear))
            made[f"{key}_M_new"] = affine_matrix(move, side)
            made[f"{key}_M_legacy"] = affine_matrix(move, side, released=True)
        matrix = affine_matrix(move, side)
        turned = published_mirror(points, scheme("68"), side) if move.mirror else points
        moved = transform_points(turned, matrix)
        made |= {
            f"{key}_lms": moved.float(),
            f"{key}_cc_lms": (moved - region_offset(size)).clamp(min=0).float(),
        }
        if number in (0, 2):
            picture = start.flip(-1) if move.mirror else start
            made[f"{key}_img"] = in_bytes(apply_affine(picture, matrix).clamp(0, 1))
    return made


def mirrors(rs: np.random.RandomState, side: int) -> Numbers:
    made: Numbers = {}
    for count in ("5", "21", "98"):
        points = torch.from_numpy(rs.uniform(0, side, (int(count), 2))).float()
        made |= {f"flip{count}_in": points, f"flip{count}_out": published_mirror(points, layout(count), side)}
    return made


def datasets(rs: np.random.RandomState, size: int) -> Numbers:
    found: Numbers = {}
    for number in range(3):
        found[f"wflw_img{number}"] = photographs(rs, 1, 95, 105)[0]
        found[f"wflw_bb{number}"] = torch.tensor([22, 18, 80, 77])
        found[f"wflw_lm{number}"] = face_points(rs, 98, 22, 18, 58).double()
        found[f"w300_img{number + 1}"] = photographs(rs, 1, 110, 90)[0]
        found[f"w300_lm{number + 1}"] = face_points(rs, 68, 20, 22, 50).double()
    found |= {"w300_bb_gt": torch.tensor([[19.5, 21.5, 71.2, 76.7]]).double()}
    found |= {"w300_bb_det": torch.tensor([[17.0, 19.0, 74.0, 80.0]]).double()}
    for name, kinds in (("wflw", ("ground_truth",)), ("w300", ("ground_truth", "detector"))):
        for number in range(3):
            for kind in kinds:
                for by in ("bb", "lm") if kind == "ground_truth" else ("bb",):
                    found |= labelled(found, name, by, kind, number, size)
    grown = torch.tensor([18, 16, 88, 96])
    view = View(size, "box", (0.0, 0.0), "paper")
    for key, pictures in (("vgg_0", ("vgg_img0", "vgg_img1")), ("aff_0", ("aff_img",))):
        found |= {name: photographs(rs, 1, 120, 110)[0] for name in pictures}
        sample = sample_of(found[pictures[-1]], grown, None)
        found[f"{key}_image"] = normalise_images(view.image(sample.image, view.region(sample)))
        found[f"{key}_bb"] = grown
    return found | {"vgg_len": torch.tensor([1])}


def labelled(found: Numbers, name: str, by: str, kind: str, number: int, size: int) -> Numbers:
    """One sample; of 300-W's compressed pictures every third pixel."""
    if name == "wflw":
        image, box, points = (found[f"wflw_{part}{number}"] for part in ("img", "bb", "lm"))
    else:
        box = found["w300_bb_gt" if kind == "ground_truth" else "w300_bb_det"]
        image, points = (found[f"w300_{part}{number + 1}"] for part in ("img", "lm"))
    key, sample = f"{name}_{by}_{kind}_{number}", sample_of(image, box, points)
    view = View(size, "landmarks" if by == "lm" else "box", MARGINS[name], "paper")
    region = view.region(sample)
    every = 3 if name == "w300" and number + 1 != PNG_OF_300W else 1
    placed = view.points(points.double(), scheme(str(len(points))), region).float()
    left, top, right, bottom = (float(v) for v in box.flatten())
    above, below = (share * (bottom - top) for share in MARGINS[name])
    made = {
        f"{key}_image": normalise_images(view.image(sample.image, region))[:, ::every, ::every],
        f"{key}_landmarks": placed,
        f"{key}_bb": torch.tensor([int(left), int(top - above), int(right), int(bottom + below)]),
    }
    if name == "wflw":
        made[f"{key}_hm_sum"] = draw_heatmaps(placed, size, 128, style="paper").sum((1, 2))
    return made
