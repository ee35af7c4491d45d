"""From a photo to landmarks with numpy, pillow and onnxruntime alone; prints JSON in the photo's pixels.

python landmarks_onnx.py PHOTO DETECTOR.onnx LANDMARKS.onnx (docs/export.md says how to get the two files).
"""

import json
import math
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def open_network(path):
    """A session and the facts that lineament wrote into the file."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session, json.loads(session.get_modelmeta().custom_metadata_map["lineament"])


def as_input(image):
    """A PIL image as [1, 3, H, W] in 0..1."""
    return np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255


def detect(photo, network, facts):
    """Boxes x0 y0 x1 y1 in pixels of the photo, best first."""
    told, shorter = facts["input"]["images"], min(photo.size)
    side, margin, end = told["shorter_side"], int(told["margin"] * shorter), 2 * np.array(photo.size)
    # The border is mirrored outwards, so that a face that it cuts is found.
    around = Image.fromarray(np.pad(np.asarray(photo), ((margin,) * 2, (margin,) * 2, (0, 0)), "reflect"))
    while True:
        scale = min(1.0, side / shorter)
        width, height = (round(each * scale) for each in around.size)
        small = around.resize((width, height), Image.Resampling.BILINEAR)
        # Sizes are multiples of 32; what is added is black.
        padded = Image.new("RGB", (-(-width // 32) * 32, -(-height // 32) * 32))
        padded.paste(small)
        scores, boxes, _ = (each[0] for each in network.run(None, {"images": as_input(padded)}))
        kept = []
        for index in np.argsort(-scores):
            if scores[index] < facts["least_score"]:
                break
            if all(overlap(boxes[index], boxes[other]) <= facts["overlap"] for other in kept):
                kept.append(index)
        if kept or scale == 1.0:
            found = [(boxes[index] + 0.5) / scale - 0.5 - margin for index in kept]
            # A face whose middle lies outside is a mirror image.
            return [box.tolist() for box in found if ((box[:2] + box[2:] > 0) & (box[:2] + box[2:] < end)).all()]
        side *= 2


def overlap(a, b):
    """Intersection over union of two boxes."""
    wide, high = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = max(wide, 0) * max(high, 0)
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def square_of(photo, middle, side, angle, size):
    """A square of the photo, turned by an angle, as a PIL image; the border is repeated outside."""
    # Shrink first, so that nothing is skipped, then turn.
    shrink = min(1.0, 1.2 * size / side)
    reach = math.ceil(0.8 * side) + 2
    left, top = math.floor(middle[0]) - reach, math.floor(middle[1]) - reach
    columns = np.clip(np.arange(left, left + 2 * reach), 0, photo.width - 1)
    rows = np.clip(np.arange(top, top + 2 * reach), 0, photo.height - 1)
    around = Image.fromarray(np.asarray(photo)[rows][:, columns])
    few = round(2 * reach * shrink)
    around, shrink = around.resize((few, few), Image.Resampling.BILINEAR), few / (2 * reach)
    cos, sin, step = math.cos(angle), math.sin(angle), side / size * shrink
    x, y = (middle[0] - left + 0.5) * shrink, (middle[1] - top + 0.5) * shrink
    half = size / 2
    forward = (step * cos, step * sin, x - step * half * (cos + sin),
               -step * sin, step * cos, y - step * half * (cos - sin))  # fmt: skip
    return around.transform((size, size), Image.Transform.AFFINE, forward, Image.Resampling.BILINEAR)


def look(photo, network, size, middle, side, angle=0.0, mirror=None):
    """Points [K, 2] and their standard deviations [K] in pixels of the photo, from one look."""
    pixels = as_input(square_of(photo, middle, side, angle, size))
    points, std, _ = network.run(None, {"images": pixels[..., ::-1].copy() if mirror else pixels})
    points, std = points[0], std[0]
    if mirror:
        points, std = np.stack([1 - points[mirror, 0], points[mirror, 1]], 1), std[mirror]
    x, y = (points - 0.5).T * side
    cos, sin = math.cos(angle), math.sin(angle)
    return np.stack([middle[0] + cos * x + sin * y, middle[1] - sin * x + cos * y], 1), std * side


def landmarks(photo, box, network, facts):
    """Landmarks [K, 2] of scheme 68: a look at the detector's square, and a mirrored one at the face it found."""
    told, size = facts["input"]["images"], facts["input"]["images"]["size"]
    box = np.array(box)
    longer = (box[2:] - box[:2]).max()
    points, std = look(photo, network, size, (box[:2] + box[2:]) / 2, told["around"] * longer)
    if facts["second_look"] is None:
        return points
    # The detector's box as the points tell it, and the way from the eyes to the mouth (docs/export.md).
    eyes, mouth = (points[36:42].mean(0) + points[42:48].mean(0)) / 2, (points[48] + points[54]) / 2
    low, high = points.min(0), points.max(0)
    (wide, high_), centre = high - low, (low + high) / 2
    nose, down = points[30], np.linalg.norm(mouth - eyes)
    middle = (centre[0] - 0.107 * (nose - centre)[0] + 0.427 * (eyes - centre)[0],
              centre[1] - 0.165 * (nose - centre)[1] + 0.767 * (eyes - centre)[1] + 0.064 * high_)  # fmt: skip
    side = max(0.645 * wide + 0.241 * high_ + 0.153 * down, 0.219 * wide + 0.820 * high_ + 0.602 * down)
    angle, closer = math.atan2(*(mouth - eyes)), facts["second_look"]["closer"]
    again, doubt = look(photo, network, size, middle, told["around"] * closer * side, angle, facts["scheme"]["mirror"])
    share = (std**-2 / (std**-2 + doubt**-2))[:, None]
    return share * points + (1 - share) * again


if __name__ == "__main__":
    photo = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")
    detector, network = open_network(sys.argv[2]), open_network(sys.argv[3])
    faces = [{"box": box, "landmarks": landmarks(photo, box, *network).tolist()} for box in detect(photo, *detector)]
    json.dump({"faces": faces}, sys.stdout)
