"""A second recording of DepthNets from programs of our own, under other seeds, sizes and counts, in the same layout.

It shows that the tests take everything from the files, not that ours equals the reference: networks, training, exports
and the warp run ours, networks in single precision from weights moved by a rounding, as another machine would.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation
from tests.parity.depthnet_goldens import fill
from tests.parity.recorded import Recorded
from tests.parity.rounding import move_weights
from tests.parity.test_depthnet_aign import HEADS
from tests.parity.test_depthnet_aign import Training as AignTraining
from tests.parity.test_depthnet_networks import NETWORKS, make, networks_of
from tests.parity.test_depthnet_training import LOSSES, Training
from tests.parity.test_depthnet_warp import predictor, shares, side_of
from torch import Tensor, nn

from lineament.data.keypoint_depth import KeypointSet, read_arrays
from lineament.evaluation.depth import PairScores, score_pairs, score_true_depth
from lineament.evaluation.depth_single import single_depth_corr
from lineament.faces.schemes import convert_points
from lineament.geometry.affine_fit import apply_affine, fit_affine
from lineament.methods.depthnet.aign import Aign, AignPredictor, SpectralLinear, heat_maps
from lineament.methods.depthnet.export import (
    export_turned_source,
    export_turned_target,
    export_warp,
    rotation_about,
    rotation_angles,
    scale_depth,
)
from lineament.methods.depthnet.loss import critic_loss, generator_loss, gradient_penalty, keypoint_loss
from lineament.methods.depthnet.model import Critic, critic_input, find_affine, transfer
from lineament.methods.depthnet.predictor import DepthPredictor
from lineament.methods.depthnet.warp import face_triangles
from lineament.methods.depthnet.warp_files import (
    WarpCase,
    read_case,
    warped_pixels,
    write_case,
    write_numbers,
)
from lineament.metrics.depth import depth_correlation
from lineament.pipeline.prepare.keypoints import prepare_keypoints

# Words of the recorded names: what was trained, and how.
TRAININGS = (
    "train_nogan_fixm_detach_l1",
    "train_nogan_learnm",
    "train_wgan_dnorm0.3_fixm",
    "train_wgan_lamb7_every3_wd",
    "train_legacy_sigma0.02_nogan",
)
SCORES = {"real": "d_loss_real", "fake": "d_loss_fake"}


def write(folder: Path, seed: int) -> None:
    """Write the whole set below a folder."""
    folder.mkdir(parents=True)
    rs = np.random.RandomState(seed)
    seeds = {"seed_g": int(rs.randint(1000)), "seed_d": int(rs.randint(1000))}
    seeds_aign = {"seed_g": int(rs.randint(1000)), "seed_d": int(rs.randint(1000))}
    (folder / "set.json").write_text(json.dumps({**seeds, "aign": seeds_aign}))

    def save(name: str, numbers: dict[str, object]) -> None:
        arrays = {
            k: v.detach().numpy() if isinstance(v, Tensor) else np.asarray(v) for k, v in numbers.items()
        }
        np.savez(folder / f"{name}.npz", **arrays)

    faces(rs, folder / "mini3dfaw")
    expected = folder / "mini3dfaw_expected"
    prepare_keypoints(folder / "mini3dfaw", expected)
    for split in ("train", "valid", "test"):
        # The published arrays do not hold the pictures' sizes, nor orientations where there is none.
        arrays = dict(np.load(expected / f"{split}.npz"))
        arrays.pop("sizes")
        np.savez(expected / f"{split}.npz", **arrays)
    train, valid, test = (read_arrays(expected / f"{split}.npz") for split in ("train", "valid", "test"))
    save("affine_solve", solve(train))
    for name in NETWORKS:
        save(f"net_{name}", network(rs, name, seeds, train))
        scores = score_networks(name, seeds["seed_g"], valid, test)
        (folder / f"metrics_{name}.txt").write_text(scores[0])
        save(f"dump_{name}", {"preds": scores[1]})
    for name in TRAININGS:
        save(name, training(rs, name, seeds, train))
    for name in ("aign", "aign_sn"):
        save(name, aign(name, seeds_aign, train, rows=[5, 1, 4, 2]))
    (folder / "metrics_aign.txt").write_text(score_aign(seeds_aign["seed_g"], test))
    save("aign_heatmap", heatmap())
    save("spectral_norm", spectral(rs))
    save("depthcorr", correlation(rs))
    save("convert_66_68", conversion(rs))
    for kind in ("fixm", "learnm"):
        for size in ("src", "tgt", "96"):
            save(f"export_single_{kind}_{size}", export_one(rs, kind, size, seeds["seed_g"], folder))
        save(f"export_rot_{kind}_target_y", export_turn(rs, kind, False, "72", seeds["seed_g"]))
    save("export_rot_fixm_rotatesource_z", export_turn(rs, "fixm", True, "src", seeds["seed_g"]))
    rows = (face_triangles() + 1).tolist()
    (folder / "triangles_1based.txt").write_text("".join("{} {} {}\n".format(*row) for row in rows))
    warps(rs, folder / "warp_extra")
    layouts = {
        name: {
            letter: [[k, list(v.shape), str(v.dtype)] for k, v in each.state_dict().items()]
            for letter, each in networks_of(name).items()
        }
        for name in (*NETWORKS, "aign_sn")
    }
    (folder / "checkpoint_layout.json").write_text(json.dumps(layouts))
    # Another number of channels than the first set: nothing compares with it.
    save("cyclegan_a3b3", {"A": rs.normal(size=(1, 3, 8, 8))})
    (folder / "cyclegan_a3b3_layout.json").write_text("{}")


def head(rs: np.random.RandomState) -> np.ndarray:
    return rs.normal(size=(66, 3)) * [20, 26, 9]


def faces(rs: np.random.RandomState, root: Path) -> None:
    """Pictures of several sizes with points of one turned head each."""
    for kind in ("train", "valid"):
        (root / f"{kind}_img").mkdir(parents=True)
        (root / f"{kind}_lm").mkdir()
    mean = head(rs)
    lines = []

    def write_face(kind: str, name: str, turn: float) -> None:
        width, height = (int(rs.randint(120, 200)) for _ in range(2))
        points = (mean + rs.normal(size=mean.shape)) @ Rotation.from_euler(
            "yx", [turn + rs.normal() * 5, rs.normal() * 5], degrees=True
        ).as_matrix()
        points[:, :2] += [width / 2, height / 2]
        Image.new("RGB", (width, height)).save(root / f"{kind}_img" / f"{name}.jpg")
        rows = "".join(",".join(f"{v:.4f}" for v in row) + "\n" for row in points)
        (root / f"{kind}_lm" / f"{name}_lm.csv").write_text(rows)

    for number in range(13):
        write_face("train", f"f{number:02d}", float(rs.uniform(-40, 40)))
    for number in range(15):
        word, turn = (("left", -30), ("center", 0), ("right", 30))[number % 3]
        name = f"g{rs.randint(10**6):06d}"
        write_face("valid", name, turn)
        lines.append(f"{name},{'test' if number % 5 < 3 else 'valid'},{word}\n")
    (root / "list_valid_test.txt").write_text("".join(lines))


def solve(train: KeypointSet) -> dict[str, object]:
    rows = torch.arange(5)
    source, target = train.keypoints[rows], train.keypoints[rows + 6]
    depth = train.depth[rows]
    found: dict[str, object] = {
        "src_xy": source,
        "tgt_xy": target,
        "src_z": depth,
        "weak_src_z": 0.02 * depth,
    }
    for prefix in ("", "weak_"):
        z = found[f"{prefix}src_z"]
        system = torch.cat([source, z[..., None], torch.ones(5, 66, 1)], 2).double().numpy()
        exact = np.stack(
            [
                np.linalg.lstsq(a, b, rcond=None)[0].T
                for a, b in zip(system, target.double().numpy(), strict=True)
            ]
        )
        single = fit_affine(source * (1 + 1e-7), z, target)
        predicted = apply_affine(single, source, z)
        found |= {f"{prefix}m": single, f"{prefix}m_float64_lstsq": exact}
        found[f"{prefix}loss" if prefix else "loss_l2"] = float((predicted - target).square().mean())
        if not prefix:
            found["tgt_pred"] = predicted.transpose(1, 2)
            found["tgt_pred_float64"] = np.einsum("bij,bkj->bik", exact, system)
            wide = np.zeros((2, 132, 8))
            wide[:, ::2, [0, 1, 2, 6]] = wide[:, 1::2, [3, 4, 5, 7]] = system[:2]
            found["A"] = wide.astype(np.float32)
    leaf = depth.double().requires_grad_()
    matrix = fit_affine(source.double(), leaf, target.double())
    (apply_affine(matrix, source.double(), leaf) - target).square().mean().backward()
    return {**found, "grad_src_z": leaf.grad.float(), "cond_AtA": np.ones(5)}


def sums(network: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    state = {k: v.double() for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    return np.array(list(state)), np.array([[float(v.sum()), float(v.norm())] for v in state.values()])


def network(
    rs: np.random.RandomState, name: str, seeds: dict[str, int], train: KeypointSet
) -> dict[str, object]:
    rows = rs.permutation(len(train))[:6]
    source, target = train.keypoints[rows], train.keypoints[np.roll(rows, 1)]
    generator, critic = make(name, seeds["seed_g"]), fill(Critic(), seeds["seed_d"]).eval()
    found: dict[str, object] = {**seeds, "net_input": torch.cat([source, target], 2).transpose(1, 2)}
    for letter, each in (("g", generator), ("d", critic)):
        found[f"{letter}_keys"], found[f"{letter}_sum_norm"] = sums(each)
    move_weights(generator, 1 + seeds["seed_g"])
    with torch.no_grad():
        for mode in ("eval", "train_bn"):
            depth, affine = generator.train(mode == "train_bn")(source, target)
            found[f"depth_{mode}"] = depth
            if affine is not None:
                found[f"m_{mode}"] = affine.flatten(1)
        found["disc_input"] = critic_input(train.depth[rows], source)
        found["disc_out_eval"] = critic(found["disc_input"])
    return found


def score_text(scores: PairScores, source: str | None = None, target: str | None = None) -> str:
    mean, deviation = scores.keypoint_error(source, target)
    return f"src: {source or 'all'}, tgt: {target or 'all'}\nkp error: {mean}  +/-  {deviation}\n"


def score_networks(name: str, seed: int, valid: KeypointSet, test: KeypointSet) -> tuple[str, np.ndarray]:
    """The printed scores and all depths of the test faces."""
    model = DepthPredictor(make(name, seed), "learnt" if "learnm" in name else "fixed")
    depths = np.zeros((len(test), len(test), 66))

    def keep(source: int, targets: slice, depth: Tensor) -> None:
        depths[source, targets] = depth.numpy()

    on_valid, on_test = score_pairs(model, valid), score_pairs(model, test, dump=keep)
    depths[np.arange(len(test)), np.arange(len(test))] = 0
    words = ("left", "center", "right")
    text = f"DepthCorr:\n{on_valid.depth_corr()}\n{score_text(on_valid)}DepthCorr:\n{on_test.depth_corr()}\n"
    text += "DepthCorr:\n\tleft\t\tcenter\t\tright\n"
    for word in words:
        text += f"{word}\t" + "\t".join(f"{on_test.depth_corr(word, other):.6f}" for other in words) + "\n"
    text += score_text(on_test)
    text += "".join(score_text(on_test, word, other) for word in words for other in words)
    return text + score_text(score_true_depth(test, model)), depths


def training(
    rs: np.random.RandomState, name: str, seeds: dict[str, int], train: KeypointSet
) -> dict[str, object]:
    steps, batch = 4, 5
    found: dict[str, object] = dict(seeds)
    for key in ("src_index", "tgt_index"):
        found[key] = np.stack([rs.permutation(len(train))[:batch] for _ in range(steps)])
    if "legacy" in name:
        found["sigma"] = 0.02
    known = Recorded(Path("new"), {k: np.asarray(v) for k, v in found.items()})
    run = Training(name, known, train, neighbour=1 + seeds["seed_g"])
    c, networks = run.recipe.config, run.networks
    losses: dict[str, list[float]] = {}
    for step in range(steps):
        values, (depth, learnt) = run.do(step)
        for key, ours in LOSSES.items():
            if ours in values:
                losses.setdefault(f"loss_{key}", []).append(float(values[ours]))
        source, target = run.batch(step)["keypoints"].chunk(2)
        matrix = find_affine(c.solve, source, depth, target, sigma=c.sigma, learnt=learnt)
        found[f"step{step}_src_z_pred"], found[f"step{step}_affine"] = depth[:, None], matrix
        found[f"step{step}_tgt_2d_pred"] = transfer(matrix, source, depth).transpose(1, 2)
    for letter, kind in (("g", "generator"), ("d", "critic")):
        each = networks.get(kind) or fill(Critic(), seeds["seed_d"])
        found[f"final_{letter}_keys"], found[f"final_{letter}_sum_norm"] = sums(each)
        found[f"gradnorm_{letter}_names"] = np.array([key for key, _ in each.named_parameters()])
        if kind in networks:
            found[f"gradnorm_{letter}"] = np.array([list(row.values()) for row in run.update.norms[kind]])
    return found | losses | evaluation(run)


def evaluation(run: Training) -> dict[str, object]:
    c, networks = run.recipe.config, run.networks
    for each in networks.values():
        each.eval()
    batch = run.batch(0)
    source, target = batch["keypoints"].chunk(2)
    true, found = batch["depth"].chunk(2)[0], {}
    with torch.no_grad():
        depth, learnt = networks["generator"](source, target)
        for prefix, z in (("eval", depth), ("eval_gtz", true)):
            matrix = find_affine(c.solve, source, z, target, sigma=c.sigma, learnt=learnt)
            error = keypoint_loss(transfer(matrix, source, z), target, absolute=c.absolute)
            found |= {f"{prefix}_affine": matrix, f"{prefix}_loss_l2": float(error)}
    found["eval_src_z_pred"] = depth[:, None]
    if c.critic:
        critic, real = networks["critic"], critic_input(true, source)
        scores = {"real": critic(real), "fake": critic(critic_input(depth, source))}
        found["eval_loss_d_loss"] = float(critic_loss(scores["real"], scores["fake"]).detach())
        found |= {f"eval_loss_{SCORES[k]}": float(v.mean().detach()) for k, v in scores.items()}
        learnt_map = c.solve == "learnt"
        found["eval_loss_g_loss"] = 0.0 if learnt_map else float(generator_loss(scores["fake"]).detach())
        found["eval_loss_dnorm_x"] = 0.0 if learnt_map else float(gradient_penalty(critic, real).detach())
    return found


def aign(name: str, seeds: dict[str, int], train: KeypointSet, rows: list[int]) -> dict[str, object]:
    steps = 2
    zeros = {f"step{step}_x_3d": np.zeros((len(rows), 3, 66)) for step in range(steps)}
    zeros |= {f"train_loss_{key}": np.zeros(steps) for key in ("g_loss", "l1_loss", "d_loss")}
    zeros |= {f"evalloss_{key}": np.zeros(()) for key in ("g_loss", "d_loss", "l2_loss")}
    known = {**{k: np.asarray(v) for k, v in seeds.items()}, "batch_rows": np.array(rows), **zeros}
    for letter, each in networks_of(name).items():
        known[f"final_{letter}_keys"], known[f"final_{letter}_sum_norm"] = sums(each)
    run = AignTraining(name, Recorded(Path("new"), known), train, neighbour=1 + seeds["seed_g"])
    seen = run.run().seen
    for step in range(steps):
        known[f"step{step}_x_3d"] = seen[f"points {step}"].astype(np.float32)
    for key in ("g_loss", "l1_loss", "d_loss"):
        known[f"train_loss_{key}"] = np.array([seen[f"{key} {step}"] for step in range(steps)])
    for key in ("g_loss", "d_loss", "l2_loss"):
        known[f"evalloss_{key}"] = seen[f"evaluation {key}"]
    for letter in ("g", "d"):
        known[f"final_{letter}_sum_norm"] = seen[f"state {letter}"]
    network = fill(Aign(), seeds["seed_g"]).eval()
    keypoints = train.keypoints[rows]
    with torch.no_grad():
        maps = heat_maps(keypoints)
        heads, (points, projected) = network.heads(maps), network(keypoints)
    known |= {f"eval_{key}": heads[ours].numpy() for key, ours in HEADS.items()}
    known |= {"heatmap_sum": maps.sum((1, 2, 3)).numpy(), "eval_x_3d": points.numpy()}
    known["eval_x_2d_proj"] = projected.transpose(1, 2).numpy()
    known["evalloss_l1_loss"] = (projected - keypoints).abs().mean().numpy()
    return dict(known)


def score_aign(seed: int, test: KeypointSet) -> str:
    model = AignPredictor(fill(Aign(), seed))
    scores = single_depth_corr(model.depth(test.keypoints, test.keypoints), test)
    mean, deviation = score_pairs(model, test).keypoint_error()
    lines = [f"{name} =  {value}\n" for name, value in scores.items()]
    return "".join(lines) + f"src: all, tgt: all\n{mean}  +/-  {deviation}\n"


def heatmap() -> dict[str, object]:
    size = 128
    axis = np.arange(-3, 5)
    kernel = np.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / 2)
    kernel /= kernel.sum()
    points = np.array([[40, 90], [2, 60], [125, 127], [60, 4], [100, 3]])
    maps = np.zeros((len(points), size, size))
    for map_, (x, y) in zip(maps, points, strict=True):
        if min(x, y) >= 4:
            part = map_[y - 4 : y + 4, x - 4 : x + 4]
            part += kernel[: part.shape[0], : part.shape[1]]
    best = maps.reshape(len(points), -1).argmax(1)
    return {
        "kernel": kernel,
        "points_xy": points,
        "maps_sum": maps.sum((1, 2)),
        "maps_argmax_yx": np.stack([best // size, best % size], 1),
        "map_125_127_crop_y110_128_x112_128": maps[2, 110:128, 112:128],
        "map_40_90_crop_y80_100_x30_50": maps[0, 80:100, 30:50],
    }


def spectral(rs: np.random.RandomState) -> dict[str, object]:
    layer = SpectralLinear(6, 4)
    with torch.no_grad():
        for value in layer.state_dict().values():
            value.copy_(torch.from_numpy(rs.normal(size=value.shape)))
    state = {k.removeprefix("module."): v.clone() for k, v in layer.state_dict().items()}
    x = torch.from_numpy(rs.normal(size=(3, 6))).float()
    weight, u = state["weight_bar"], state["weight_u"]
    found: dict[str, object] = {"x": x, **{f"init_module__{k}": v for k, v in state.items()}}
    for call in (1, 2):
        v = weight.T @ u
        v = v / (v.norm() + 1e-12)
        u = weight @ v
        u = u / (u.norm() + 1e-12)
        found[f"out_call{call}"] = x @ (weight / (u @ weight @ v)).T + state["bias"]
    after = {**state, "weight_u": u, "weight_v": v}
    return found | {f"after2_module__{k}": value for k, value in after.items()}


def correlation(rs: np.random.RandomState) -> dict[str, object]:
    predicted, actual = rs.normal(size=(2, 23, 66))
    each = [abs(np.corrcoef(predicted[:, k], actual[:, k])[0, 1]) for k in range(66)]
    assert abs(sum(each) - depth_correlation(*map(torch.from_numpy, (predicted, actual)))) < 1e-6
    return {"preds": predicted, "actuals": actual, "covar": sum(each)}


def conversion(rs: np.random.RandomState) -> dict[str, object]:
    points = rs.normal(size=(66, 3))
    more = convert_points(torch.from_numpy(points), "66", "68").numpy()
    return {"kp66": points[:, :2], "z66": points[:, 2], "kp68": more[:, :2], "z68": more[:, 2]}


def exported(found: object) -> dict[str, object]:
    return {key: getattr(found, key).squeeze().double() for key in ("keypoints", "depth", "affine")}


def moved_predictor(kind: str, seed: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return predictor(Path(f"export_{kind}.npz"), seed)


def export_one(
    rs: np.random.RandomState, kind: str, which: str, seed: int, folder: Path
) -> dict[str, object]:
    sizes = {"src": np.array([210, 160]), "tgt": np.array([120, 190])}
    height, width = side_of(which, sizes)
    source = np.concatenate([rs.uniform(30, 140, (66, 2)), rs.normal(size=(66, 1))], 1)
    target = source[:, :2] * 0.6 + rs.normal(size=(66, 2))
    points = (shares(source, sizes["src"])[None], shares(target, sizes["tgt"])[None])
    found = exported(export_warp(moved_predictor(kind, seed), *points, width, height, faithful=True))
    name = f"face{which}.jpg"
    written = write_numbers(
        folder.parent / "texts", name, *(found[k] for k in ("keypoints", "depth", "affine"))
    )
    text = next(path for path in written if path.parent.name == "affine").read_text()
    known = {"src_kpts_px": source, "tgt_kpts_px": target, "src_hw": sizes["src"], "tgt_hw": sizes["tgt"]}
    return {**found, **known, "seed_g": seed, "affine_text": text, "file_basename": f"{name}.txt"}


def export_turn(
    rs: np.random.RandomState, kind: str, of_source: bool, which: str, seed: int
) -> dict[str, object]:
    size = np.array([180, 220])
    height, width = side_of(which, {"src": size, "tgt": size})
    points = np.concatenate([rs.uniform(40, 170, (66, 2)), rs.normal(size=(66, 1)) * 20], 1)
    known = {
        "tgt_angle_1": 0.5,
        "tgt_angle_2": -0.9,
        "frame_multiplier": 4.0,
        "norm_mean": 0.45,
        "norm_std": 0.6,
    }
    angles = rotation_angles(known["tgt_angle_1"], known["tgt_angle_2"], known["frame_multiplier"])
    axis = "z" if of_source else "y"
    rotation, xy, predict = rotation_about(axis, angles), shares(points, size), moved_predictor(kind, seed)
    mean, std = known["norm_mean"], known["norm_std"]
    if of_source:
        found = export_turned_source(predict, xy, xy, rotation, width, height, std=std, faithful=True)
    else:
        depth = scale_depth(torch.from_numpy(points[:, 2]), 1.0)
        found = export_turned_target(
            predict, xy, xy, depth, rotation, width, height, mean=mean, std=std, faithful=True
        )
    facts = {"axis": axis, "hw": size, "kpts_px": points, "output_size": which, "rotate_source": of_source}
    frames = np.array([f"{i:06d}.txt" for i in range(len(angles))])
    return {**exported(found), **known, **facts, "frames": frames, "scale_depth": 1, "seed_g": seed}


def warps(rs: np.random.RandomState, folder: Path) -> None:
    for name, (height, width) in (("h_tall", (150, 110)), ("i_wide", (90, 140))):
        coarse = rs.randint(0, 256, (6, 6, 3)).astype(np.uint8)
        picture = np.array(Image.fromarray(coarse).resize((width, height)))
        image = torch.from_numpy(picture).permute(2, 0, 1) / 255
        points = torch.from_numpy(rs.uniform(0.15, 0.85, (68, 2)) * [width, height])
        turn = torch.from_numpy(np.array([[0.9, 0.1, 3.0, 4.0], [-0.1, 1.0, 2.0, 3.0]]))
        write_case(folder, WarpCase(name, image, points, torch.from_numpy(rs.normal(size=68)), turn))
        pixels = warped_pixels(read_case(folder, name), impl="reference")
        (folder / "expected_ours").mkdir(exist_ok=True)
        Image.fromarray(pixels, "RGBA").save(folder / "expected_ours" / f"{name}.png")
