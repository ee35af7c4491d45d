"""A head model in torch: vertices and landmarks with gradients, for fits and for networks that end in a head."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from lineament.errors import UsageError
from lineament.heads.model import HeadModel


class TorchHead(nn.Module):
    """The twin of :meth:`HeadModel.vertices <lineament.heads.model.HeadModel.vertices>`, differentiable in all inputs.

    Unlike its model it is not the same to the last bit for every number of threads: draw images with that one.

    Args:
        head: The head model.
        dtype: Of all its numbers, ``torch.float32`` or ``torch.float64``.
    """

    basis: Tensor
    pairs: Tensor
    gaze_of_expression: Tensor
    landmark_ids: Tensor
    landmark_weights: Tensor

    def __init__(self, head: HeadModel, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.head = head
        blocks = [head.neutral[None], head.identity, head.expression]
        blocks += [head.corrective] if head.corrective.size else []
        constants = {
            "basis": np.concatenate(blocks).reshape(sum(map(len, blocks)), -1),  # [1 + I + E + C, 3 V]
            "gaze_of_expression": head.eyes.gaze_of_expression,  # [E, 2]
            "landmark_weights": head.landmark_weights,  # [K, n]
        }
        for name, value in constants.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(value)).to(dtype))
        self.register_buffer("pairs", torch.from_numpy(head.corrective_pairs).long())  # [C, 2]
        self.register_buffer("landmark_ids", torch.from_numpy(head.landmark_ids).long())  # [K, n]

    def forward(self, identity: Tensor, expression: Tensor, gaze: Tensor | None = None) -> Tensor:
        """Vertices of a batch of faces.

        Args:
            identity: ``[B, I]`` coefficients.
            expression: ``[B, E]`` activations in 0..1.
            gaze: ``[B, 2, 2]`` yaw and pitch in radians of the person's left and right eye, added to what the gaze
                expressions give; positive yaw looks to the image right, positive pitch looks down.

        Returns:
            ``[B, V, 3]`` millimetres in the head frame.

        Raises:
            UsageError: If the number of coefficients does not fit the model.
        """
        batch = len(identity)
        wanted = ((batch, len(self.head.identity)), (batch, len(self.head.expression)), (batch, 2, 2))
        given = (identity.shape, expression.shape, wanted[2] if gaze is None else gaze.shape)
        if tuple(map(tuple, given)) != wanted:
            raise UsageError(
                f"identity, expression and gaze of head {self.head.name!r} are {wanted[0]}, {wanted[1]} and "
                f"{wanted[2]} for {batch} faces, got {', '.join(str(tuple(shape)) for shape in given)}."
            )
        turns = (expression @ self.gaze_of_expression)[:, None].expand(-1, 2, -1)  # [B, 2, 2]
        if gaze is not None:
            turns = turns + gaze
            expression = self._follow_gaze(expression, gaze)
        products = expression[:, self.pairs].prod(-1)  # [B, C]
        ones = identity.new_ones(batch, 1)
        coefficients = torch.cat([ones, identity, expression, products], 1)
        points = (coefficients @ self.basis).view(batch, -1, 3)
        for eye in range(2):
            points = self._turn_eye(points, eye, turns[:, eye])
        return points

    def landmarks(self, vertices: Tensor) -> Tensor:
        """Landmarks ``[B, K, 3]`` of scheme 68 on vertices ``[B, V, 3]`` in any frame."""
        return (vertices[:, self.landmark_ids] * self.landmark_weights[..., None]).sum(2)

    def _follow_gaze(self, expression: Tensor, gaze: Tensor) -> Tensor:
        """Activations with ``gaze_up`` and ``gaze_down`` raised so that the lids follow an explicit gaze."""
        raised = torch.zeros_like(expression)
        pitch = gaze[:, :, 1].mean(1)
        for name, sign in (("gaze_down", 1.0), ("gaze_up", -1.0)):
            if name in self.head.expression_names:
                index = self.head.expression_index(name)
                limit = abs(float(self.gaze_of_expression[index, 1])) or 1.0
                only = torch.zeros_like(expression[0])
                only[index] = 1.0
                raised = raised + (sign * pitch / limit).clamp(0, 1)[:, None] * only
        return expression + raised

    def _turn_eye(self, points: Tensor, eye: int, turn: Tensor) -> Tensor:
        """Turn one eyeball about its centre by yaw and pitch ``[B, 2]`` and push the lids out of it."""
        eyes, device = self.head.eyes, points.device
        anchors, ball, lids = (
            torch.from_numpy(np.asarray(ids[eye])).long().to(device)
            for ids in (eyes.anchors, eyes.ids, eyes.lid_ids)
        )
        centre = points[:, anchors].mean(1, keepdim=True)  # [B, 1, 3]
        around = points[:, ball] - centre
        radius = around.norm(dim=-1).mean(1)  # [B]
        turned = centre + around @ gaze_rotation(turn).transpose(1, 2)
        points = points.index_copy(1, ball, turned)
        clearance = torch.as_tensor(eyes.lid_clearance[eye], dtype=points.dtype, device=device)
        away = points[:, lids] - centre
        distance = away.norm(dim=-1).clamp(min=1e-3)  # [B, L]
        push = ((radius[:, None] + clearance) / distance).clamp(min=1.0)
        return points.index_copy(1, lids, centre + away * push[..., None])


def gaze_rotation(turn: Tensor) -> Tensor:
    """``[B, 3, 3]`` rotations that take the forward direction (0, 0, -1) to yaw and pitch ``[B, 2]`` in radians."""
    (sin_yaw, sin_pitch), (cos_yaw, cos_pitch) = turn.sin().unbind(1), turn.cos().unbind(1)
    zero = torch.zeros_like(sin_yaw)
    rows = [
        [cos_yaw, -sin_yaw * sin_pitch, -sin_yaw * cos_pitch],
        [zero, cos_pitch, -sin_pitch],
        [sin_yaw, cos_yaw * sin_pitch, cos_yaw * cos_pitch],
    ]
    return torch.stack([torch.stack(row, 1) for row in rows], 1)
