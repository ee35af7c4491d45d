"""A second recording of DVE from programs of our own, under other seeds, sizes, shapes and counts, in the same layout.

It shows that the tests take everything from the files, not that ours equals the reference. Preprocessing, warps and the
matching evaluation are written out anew (:mod:`tests.parity.other.dve_pictures`); networks and training run ours in
single precision from weights moved by a rounding, as another machine would.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from tests.parity.dve_goldens import HOURGLASS_GAIN, SMALLNET_GAIN, fill_with_recipe_weights
from tests.parity.other.dve_pictures import (
    EVALUATION,
    Numbers,
    aflw_item,
    as_network_sees,
    celeba,
    celeba_item,
    colour_noise,
    draw_warp,
    grid_of,
    picks,
    tps,
    unnormalised,
    w300_item,
    warped_pair,
)
from tests.parity.recorded import Recorded
from tests.parity.rounding import move_weights
from tests.parity.test_dve_loss import Published
from tests.parity.test_dve_networks import stage_outputs
from torch import Tensor, nn

from lineament.methods.dve.hourglass import Hourglass
from lineament.methods.dve.model import SmallNet, build_backbone
from lineament.methods.dve.regressor import LandmarkRegressor, landmark_loss
from lineament.methods.dve.schedule import PUBLISHED_SCHEDULES, published_factor


def write(folder: Path, seed: int) -> None:
    """Write the whole set below a folder."""
    folder.mkdir(parents=True)
    rs = np.random.RandomState(seed)

    def save(name: str, numbers: dict[str, object]) -> None:
        tensors = {key: torch.as_tensor(value).clone().contiguous() for key, value in numbers.items()}
        save_file(tensors, folder / f"{name}.safetensors")

    for channels, pool, shape in ((5, 1, (1, 3, 44, 38)), (8, 0, (2, 3, 25, 31))):
        save(f"smallnet_{channels}d_mp{pool}", smallnet(rs, channels, pool, shape))
    save("smallnet_refinit_full_state", smallnet_state(rs))
    for kind in ("bn", "gn"):
        save(f"hourglass_24d_{kind}", hourglass(rs, 24, kind == "gn", (1, 3, 64, 96)))
    for name, batch, feature, stride in (("d", 2, (5, 7), 2), ("e", 1, (6, 4), 1)):
        save(f"loss_{name}", losses(rs, batch, feature, stride))
    save("tps_pair_7", tps(rs, (34, 50), 4, pair=True))
    save("tps_single_7", tps(rs, (41, 33), 3, pair=False))
    save("keypoint_7", regressor(rs))
    save("match_7", matches(rs, (7, 9), sized=False))
    save("match_8", matches(rs, (10, 10), sized=True))
    save("dense_match", dense(rs))
    save("metrics", metrics(rs))
    save("lr_schedule_per_epoch", schedule(rs))
    for kind in ("dense", "dve", "dvenorm"):
        save(f"train_{kind}", training(rs, kind))
    save("celeba_item_smallnet", celeba_item(rs, 90, 13))
    save("celeba_item_hourglass", celeba_item(rs, 120, 12))
    save("300w_item_legacy_nearest", w300_item(rs, Image.Resampling.NEAREST, 110, 15))
    save("300w_item_modern_bicubic", w300_item(rs, Image.Resampling.BICUBIC, 100, 10))
    save("aflw_item", aflw_item(rs))
    save("pca_aug", colour_noise(rs))
    save("restrict_annos_picks", picks(rs))
    # The query at 35 of 100 pixels cut by 15 lies half way between two lattice points.
    save("eval_matching_smallnet", matching_evaluation(rs, "smallnet", 100, 15, faces=7))
    save("eval_matching_hourglass", matching_evaluation(rs, "hourglass", 104, 20, faces=4))


def normal(rs: np.random.RandomState, *shape: int) -> Tensor:
    return torch.from_numpy(rs.normal(size=shape)).float()


def drawn(rs: np.random.RandomState, network: nn.Module, gain: float) -> tuple[nn.Module, int]:
    """Recipe weights, a rounding away, and their seed."""
    seed = int(rs.randint(1000))
    fill_with_recipe_weights(network, seed, gain)
    move_weights(network, 1 + seed)
    return network.eval(), seed


def network_numbers(network: nn.Module, images: Tensor, stages: list[str]) -> Numbers:
    outputs = stage_outputs(network, images)
    numbers = {"input": images, "output_eval": outputs["output"]}
    for name in stages:
        out = outputs[name].double()
        numbers[f"stat_eval.{name}.mean_std_absmax"] = torch.stack(
            [out.mean(), out.std(), out.abs().max()]
        ).float()
    return numbers


def smallnet(
    rs: np.random.RandomState, channels: int, pool: int, shape: tuple[int, ...]
) -> dict[str, object]:
    network, seed = drawn(rs, SmallNet(channels, max_pool=bool(pool)), SMALLNET_GAIN)
    numbers: dict[str, object] = dict(network_numbers(network, normal(rs, *shape), ["conv2", "conv6"]))
    with torch.no_grad():
        numbers["output_train"] = network.train()(numbers["input"])
    numbers["after_train.conv3.1.running_mean"] = network.state_dict()["conv3.1.running_mean"]
    return numbers | {"channels": channels, "do_maxpool": pool, "recipe_seed": seed}


def smallnet_state(rs: np.random.RandomState) -> dict[str, object]:
    torch_seed = int(rs.randint(1000))
    torch.manual_seed(torch_seed)
    network = SmallNet(int(rs.randint(3, 9))).eval()
    numbers = network_numbers(network, normal(rs, 1, 3, 36, 28), [])
    state = {f"state.{key}": value for key, value in network.state_dict().items()}
    return {**numbers, **state, "torch_seed": torch_seed}


def hourglass(
    rs: np.random.RandomState, channels: int, group: bool, shape: tuple[int, ...]
) -> dict[str, object]:
    network, seed = drawn(rs, Hourglass(channels, group_norm=group, scaled_norm_output=group), HOURGLASS_GAIN)
    numbers: dict[str, object] = dict(network_numbers(network, normal(rs, *shape), ["layer2", "hg.0"]))
    if not group:
        with torch.no_grad():
            numbers["output_train"] = network.train()(numbers["input"])
    count = sum(p.numel() for p in network.parameters())
    return numbers | {"channels": channels, "n_params": count, "recipe_seed": seed}


def random_grid(rs: np.random.RandomState, batch: int, height: int, width: int) -> Tensor:
    plain = F.affine_grid(torch.eye(2, 3).expand(batch, 2, 3), (batch, 1, height, width), align_corners=True)
    return plain + 0.1 * normal(rs, *plain.shape)


def plain_loss(feats: Tensor, grid: Tensor, stride: int, exchanged: bool, norm: bool, power: float) -> Tensor:
    """The loss written out with every matrix."""
    if norm:
        feats = 20 * F.normalize(feats, dim=1)
    first, second = (each.flatten(2) for each in (feats[0::2], feats[1::2]))
    height, width = grid.shape[1:3]
    wanted = ((grid + 1) / 2 * torch.tensor([width - 1, height - 1]).to(grid))[:, ::stride, ::stride].flatten(
        1, 2
    )
    ys, xs = torch.meshgrid(torch.arange(0, height, stride), torch.arange(0, width, stride), indexing="ij")
    places = torch.stack([xs, ys], -1).flatten(0, 1).to(grid)
    distance = (wanted[:, :, None] - places).norm(dim=-1) ** power
    query = first
    if exchanged:
        other = first.roll(-1, 0)
        query = other @ torch.softmax(first.transpose(1, 2) @ other, 2).transpose(1, 2)
    share = torch.softmax(query.transpose(1, 2) @ second, 2)
    return (share * distance).sum(2).mean()


def losses(rs: np.random.RandomState, batch: int, feature: tuple[int, int], stride: int) -> dict[str, object]:
    feats = normal(rs, 2 * batch, int(rs.randint(3, 7)), *feature)
    grid = random_grid(rs, batch, *(stride * side for side in feature))
    numbers: dict[str, object] = {"feats": feats, "grid": grid, "stride": stride}
    for kind in ("dense", "dve"):
        for norm in (0, 1):
            for power in (0.5, 1.0):
                for dtype, word in ((torch.float32, "f32"), (torch.float64, "f64")):
                    if power == 1.0 and word == "f64":
                        continue
                    key = f"{kind}.norm{norm}.fold0.pow{power}.{word}"
                    leaf = feats.clone().to(dtype).detach().requires_grad_()
                    loss = plain_loss(leaf, grid.to(dtype), stride, kind == "dve", bool(norm), power)
                    loss.backward()
                    numbers[f"loss.{key}"], numbers[f"grad.{key}"] = loss.detach(), leaf.grad
    return numbers


def regressor(rs: np.random.RandomState) -> dict[str, object]:
    landmarks, between, channels, sharpness = 7, 6, 5, 60.0
    network = LandmarkRegressor(channels, landmarks, between, sharpness=sharpness)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(normal(rs, *p.shape) * (1.0 if p.shape[0] == landmarks * between else 0.3))
    features, truth = normal(rs, 4, channels, 8, 11), normal(rs, 4, landmarks, 2) * 0.4
    state = {f"state.{key}": value.clone() for key, value in network.state_dict().items()}
    state |= {"state.descriptors": network.inner_conv.weight.detach().clone()}
    state |= {f"state.linear.{i}.weight": normal(rs, 2, 2 * between) for i in range(landmarks)}
    predicted, points = network(features)
    loss = landmark_loss(predicted, truth, alpha=10)
    loss.backward()
    gradients = {f"grad.{name}": p.grad.clone() for name, p in network.named_parameters()}
    eyes = [3, 1]
    apart = (truth[:, eyes[0]] - truth[:, eyes[1]]).norm(dim=-1, keepdim=True)
    error = 100 * ((predicted.detach() - truth).norm(dim=-1) / apart).mean()
    move_weights(network, 3)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=5e-4, amsgrad=True)
    steps = []
    for _ in range(5):
        step = landmark_loss(network(features)[0], truth)
        optimiser.zero_grad()
        step.backward()
        optimiser.step()
        steps.append(float(step.detach()))
    return {
        **state,
        **gradients,
        "features": features,
        "keypts_normalized": truth,
        "pred": predicted.detach(),
        "intermediate": points.detach(),
        "regression_loss_alpha10": loss.detach(),
        "inter_ocular_error": error,
        "eye_idxs": eyes,
        "softargmax_mul": torch.tensor(sharpness, dtype=torch.float64),
        "train.losses5": torch.tensor(steps, dtype=torch.float64),
        "train.final.reg_conv.weight": network.reg_conv.weight.detach(),
        "train.final.inner_conv.weight_norm": network.inner_conv.weight.detach().norm(),
        "upsampled_features": F.interpolate(
            features[:1], scale_factor=2, mode="bilinear", align_corners=False
        ),
    }


def best_place(source: Tensor, target: Tensor, query: Tensor, stride: float) -> Tensor:
    """One match by a loop over every place."""
    x, y = (float(torch.tensor(float(v) / stride, dtype=torch.float64).round()) for v in query)
    here = source[:, min(max(int(y), 0), source.shape[1] - 1), min(max(int(x), 0), source.shape[2] - 1)]
    scores = (here.double()[:, None, None] * target.double()).sum(0)
    index = int(scores.flatten().argmax())
    return torch.tensor([index % target.shape[2], index // target.shape[2]], dtype=torch.float64) * stride


def matches(rs: np.random.RandomState, shape: tuple[int, int], sized: bool) -> dict[str, object]:
    source, target = normal(rs, 6, *shape), normal(rs, 6, *shape)
    stride, count = (2.0, 17) if sized else (2.5, 23)
    queries = torch.from_numpy(rs.randint(-2, int(stride * max(shape)) + 3, (count, 2))).double()
    found = torch.stack([best_place(source, target, query, stride) for query in queries])
    numbers: dict[str, object] = {"source": source, "target": target, "queries_xy": queries}
    numbers |= {"matches_xy": found, "stride": torch.tensor(stride, dtype=torch.float64)}
    if sized:
        width, crop = int(stride * shape[1]) + 8, 4
        truth = torch.from_numpy(rs.uniform(0, 20, (count, 2)))
        error = ((found - truth) ** 2).sum(1).sqrt() * 70 / (width - 2 * crop)
        numbers |= {"imwidth": width, "crop": crop, "gt_xy": truth, "pixel_err": error}
    return numbers


def dense(rs: np.random.RandomState) -> dict[str, object]:
    source, target = normal(rs, 5, 6, 7), normal(rs, 5, 8, 5)
    large = [
        F.interpolate(x[None].double(), scale_factor=2, mode="bilinear", align_corners=True)[0]
        for x in (source, target)
    ]
    best = torch.einsum("chw,cij->hwij", large[1], large[0]).flatten(2).argmax(2)
    height, width = large[0].shape[1:]
    grid = torch.stack([best % width / (width - 1), best // width / (height - 1)], -1) * 2 - 1
    return {"source": source, "target": target, "grid": grid[None].float()}


def metrics(rs: np.random.RandomState) -> dict[str, object]:
    truth, predicted = normal(rs, 4, 68, 2), normal(rs, 4, 68, 2)
    apart = (truth[:, 36] - truth[:, 45]).norm(dim=-1, keepdim=True)
    classes, side = 6, 20
    labels = torch.from_numpy(rs.randint(0, classes - 1, (3, side, side + 4)))
    logits = normal(rs, 3, classes, side // 2, side // 2 + 2)
    large = F.interpolate(logits, size=labels.shape[1:], mode="bilinear", align_corners=True)
    table = np.zeros((classes, classes))
    np.add.at(table, (labels.flatten().numpy(), large.argmax(1).flatten().numpy()), 1)
    hit, there, said = np.diag(table), table.sum(1), table.sum(0)
    with np.errstate(invalid="ignore"):
        iou, each = hit / (there + said - hit), hit / there
    share = there / there.sum()
    return {
        "gt": truth,
        "pred": predicted,
        "iod68": 100 * ((predicted - truth).norm(dim=-1) / apart).mean(),
        "seg_labels": labels,
        "seg_logits": logits,
        "seg_loss": F.cross_entropy(large, labels),
        "seg_class_iou": torch.from_numpy(iou),
        "seg.acc": torch.tensor(hit.sum() / table.sum()),
        "seg.clsacc": torch.tensor(np.nanmean(each)),
        "seg.fwacc": torch.tensor((share[share > 0] * iou[share > 0]).sum()),
        "seg.miou": torch.tensor(np.nanmean(iou)),
    }


def schedule(rs: np.random.RandomState) -> dict[str, object]:
    found = {}
    for name, kind in PUBLISHED_SCHEDULES.items():
        start, epochs = float(rs.uniform(1e-4, 1e-2)), int(rs.randint(60, 120))
        rates = [start * published_factor(kind, epoch) for epoch in range(1, epochs + 1)]
        found[name] = torch.tensor(rates, dtype=torch.float64)
    return found


def training(rs: np.random.RandomState, kind: str) -> dict[str, object]:
    batch, height, width, steps = 4, 28, 36, 4
    channels, seed = int(rs.randint(3, 6)), int(rs.randint(1000))
    numbers: Numbers = {
        "input": normal(rs, 2 * batch, 3, height, width),
        "grid": random_grid(rs, batch, height, width),
        "channels": torch.tensor(channels),
        "recipe_seed": torch.tensor(seed),
        "n_weights": torch.tensor(16),
        "n_biases": torch.tensor(6),
    }
    run = Published(Recorded(Path("new"), numbers), kind, neighbour=1 + seed)
    losses = [run.step()]
    gradients = run.gradients
    losses += [run.step() for _ in range(steps - 1)]
    norms = {f"step1.gradnorm.{name}": value.norm().float() for name, value in gradients.items()}
    state = run.network.state_dict()
    final = ("conv1.0.bias", "conv1.0.weight", "conv1.1.running_mean", "conv5.1.running_var", "conv6.weight")
    return {
        **numbers,
        **norms,
        "step1.grad.conv1.0.weight": gradients["conv1.0.weight"].float(),
        "losses": torch.tensor(losses, dtype=torch.float64),
        **{f"final.{name}": state[name] for name in final},
    }


def matching_evaluation(
    rs: np.random.RandomState, backbone: str, size: int, crop: int, faces: int
) -> dict[str, object]:
    channels = int(rs.randint(8, 20))
    gain = SMALLNET_GAIN if backbone == "smallnet" else HOURGLASS_GAIN
    network, seed = drawn(rs, build_backbone(backbone, channels), gain)
    items = [celeba(rs, size) for _ in range(faces)]
    torch.manual_seed(0)
    torch.empty((), dtype=torch.int64).random_()
    warped = []
    for number, (_, raw, square, points) in enumerate(items):
        weights = [draw_warp(EVALUATION), draw_warp(EVALUATION)]
        if number == 0:
            aim_at_a_tie(raw, points, weights, size, crop)
        image = torch.from_numpy(square).permute(2, 0, 1).float()
        warped.append(warped_pair(image, points, weights, crop))
    rows = []
    for even in range(0, faces - 1, 2):
        this, other = warped[even : even + 2]
        with torch.no_grad():
            pictures = torch.stack([this["first"], this["second"], other["second"]]).to(torch.uint8).float()
            source, *targets = network(torch.stack([as_network_sees(each) for each in pictures]))
        stride = (size - 2 * crop) / source.shape[-1]
        for point, query in enumerate(this["kp_first"]):
            row = []
            for target, truth in zip(targets, (this["kp_second"], other["kp_second"]), strict=True):
                found, place = best_place(source, target, query, stride), truth[point].double()
                error = (found - place).norm() * 70 / (size - 2 * crop)
                row.append(torch.cat([found, place, error[None]]))
            rows.append(torch.stack(row))
    table = torch.stack(rows)
    return {
        "channels": channels,
        "recipe_seed": seed,
        "imwidth": size,
        "crop": crop,
        "images_hwc_uint8": np.stack([item[0] for item in items]),
        "landmarks_raw": np.stack([item[1] for item in items]),
        "rows_same_diff_predxy_gtxy_err": table,
        "mean_same": table[:, 0, 4].mean(),
        "mean_diff": table[:, 1, 4].mean(),
    }


def aim_at_a_tie(raw: np.ndarray, points: Tensor, weights: list[Tensor], size: int, crop: int) -> None:
    """Move the first two landmarks so that both warps carry them to pixels half way between two lattice points.

    Of these, pixels whose float32 position lies on the other side than half to even.
    """
    lattice = (torch.linspace(-1, 1, size) + 1) / 2 * (size - 1) - crop
    whole = torch.arange(size) - crop
    turned = (lattice / 2).round() != (whole / 2).round()
    wanted = [int(v) for v in whole[turned] if 20 <= v < size - 2 * crop - 20][:1]
    for number, across in enumerate(wanted * 2):
        place = torch.tensor([[across + crop, size // 2 + 7 * number]])
        for each in reversed(weights):
            grid = unnormalised(grid_of(each, size, size))
            place = grid[0, place[:, 1].round().long(), place[:, 0].round().long()]
        points[number] = place[0]
        raw[number] = place[0].double().numpy() * 178 / size + [0, 30]
