"""Cuts the face of a photo out as the data of a run of multiplane images were, with its camera and the head's depth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.capabilities import LandmarkPredictor
from lineament.errors import DataError, UsageError
from lineament.faces import boxes
from lineament.faces.crop_rules import crop_entry
from lineament.faces.crops import crop_image, named_crop
from lineament.geometry.affine2d import Affine2D
from lineament.geometry.rotation import matrix_from_pose
from lineament.geometry.sphere_camera import angles_on_sphere
from lineament.heads.fit import HeadFit
from lineament.heads.load import load_head
from lineament.inference import Model
from lineament.methods.gmpi.datasets import Scene
from lineament.methods.gmpi.pose_labels import level, on_scene
from lineament.ops.rasterize import rasterize_with_depth
from lineament.pipeline.prepare.posed import CROP, fit_pose

# Where a head fits the landmarks worse than this no pose is taken, in shares of the distance of the eyes.
MOST_ERROR = 0.08
# Side of the images that features are made of, and the edge of a crop that fades into the photo, in shares of its side.
_FEATURE_SIDE, _FADE = 112, 0.08


@dataclass(frozen=True)
class PhotoFace:
    """The face of a photo.

    Attributes:
        crop: Pixels of the photo to those of the cut.
        image: ``[3, R, R]`` the cut, in 0..1.
        inside: ``[R, R]`` share of each pixel that lies in the photo.
        pitch_yaw: ``[2]`` the camera that sees the face so, radians.
        depth: ``[R, R]`` of the fitted head, growing away from the camera; 0 where it is not.
    """

    crop: Affine2D
    image: Tensor
    inside: Tensor
    pitch_yaw: Tensor
    depth: Tensor


def find_photo_face(
    model: Model, image: Tensor, name: str, scene: Scene, mean_pitch: float, side: int
) -> PhotoFace:
    """Find the largest face of a photo ``[3, H, W]`` and cut it out by the crop ``ffhq``.

    Args:
        model: Finds landmarks.
        image: The photo, 0..1.
        name: Of the photo, for messages.
        scene: Of the run.
        mean_pitch: By which the run's world is turned, radians.
        side: Pixels of the cut.

    Raises:
        DataError: If there is no face, or no pose of it.
    """
    model.capability(LandmarkPredictor)
    faces = model.find(image).faces
    if not faces:
        raise DataError(
            f"{name}: no face was found in it: give a photo in which one is larger or less turned."
        )
    largest = max(faces, key=lambda face: float(boxes.size(face.box).prod()))
    fitted = fit_pose(load_head("builtin"), largest, image, MOST_ERROR)
    if isinstance(fitted, str):
        raise DataError(f"{name}: its face cannot be projected ({fitted}): give another photo.")
    assert fitted.fit is not None and fitted.points is not None
    crop = named_crop(CROP, landmarks=fitted.points, scheme="68", size=side)
    # The crop turns the image, and with it the camera about its axis.
    turn = matrix_from_pose(torch.tensor([0.0, 0.0, crop.rotation], dtype=torch.float64))
    camera = torch.eye(4, dtype=torch.float64)
    camera[:3, :3], camera[2, 3] = turn @ fitted.fit.rotation, scene.radius
    yaw, pitch = angles_on_sphere(on_scene(level(camera, mean_pitch), scene), centre_z=scene.centre_z)
    return PhotoFace(
        crop,
        crop_image(image, crop, side, crop_entry(CROP).border).clamp(0, 1),
        crop_image(torch.ones_like(image[:1]), crop, side, 0.0)[0].clamp(0, 1),
        torch.stack([pitch, yaw]),
        _head_depth(fitted.fit, crop, side),
    )


def _head_depth(fit: HeadFit, crop: Affine2D, side: int) -> Tensor:
    vertices = fit.vertices
    z = vertices[:, 2] - vertices[:, 2].min() + 1.0
    placed = torch.cat([crop.apply(vertices[:, :2]), z[:, None]], 1).float()
    return rasterize_with_depth(placed[None], torch.from_numpy(fit.head.faces).int(), side, side)[1][0]


def paste(photo: Tensor, view: Tensor, crop: Affine2D) -> Tensor:
    """Put a view ``[3, R, R]`` of a face back to where it was cut out of a photo ``[3, H, W]``, fading at its edge."""
    side, (height, width) = view.shape[-1], photo.shape[1:]
    edge = torch.linspace(0.5, side - 0.5, side) / side
    ramp = (torch.minimum(edge, 1 - edge) / _FADE).clamp(0, 1)
    back = crop.inverse()
    cover = crop_image((ramp[:, None] * ramp)[None].clone(), back, (height, width), 0.0)
    shown = crop_image(view, back, (height, width), "edge")
    return (photo + (shown - photo) * cover).clamp(0, 1)


def face_features(model: Model) -> Callable[[Tensor], Tensor]:
    """Features of a landmark model's backbone: of images ``[B, 3, R, R]`` in 0..1, each place of length 1.

    Raises:
        UsageError: If the model is of another method.
    """
    networks = model.run.load_networks()
    if "backbone" not in networks:
        raise UsageError(
            f"{model.run.label} has no features of faces to compare: take face-68, or --feature-weight 0."
        )
    backbone = networks["backbone"].eval().requires_grad_(False)

    def features(images: Tensor) -> Tensor:
        larger = F.interpolate(images, (_FEATURE_SIDE, _FEATURE_SIDE), mode="bilinear", align_corners=False)
        fine = backbone(larger)[0]
        normed: Tensor = F.normalize(fine, dim=1)
        # Their squared difference is summed over channels and averaged over places by the mean that follows.
        return normed * fine.shape[1] ** 0.5

    return features


def read_mean_pitch(model: Model, path: Path) -> float:
    """By how much the world of a run of multiplane images is turned, radians.

    Raises:
        UsageError: If the run has no such field.
    """
    config = getattr(model.run.build_recipe(), "config", None)
    pitch = getattr(config, "mean_pitch", None)
    if not isinstance(pitch, int | float):
        raise UsageError(f"{path} is no run of gmpi-folder: train one with `lineament train gmpi-folder`.")
    return float(pitch)
