"""The recipes of the toy method."""

from lineament.training.registry import register_variant

for _name, _width in (("brightness-thin", 2), ("brightness-wide", 16)):
    register_variant(
        _name,
        method="brightness",
        recipe="brightness.recipe:BrightnessRecipe",
        summary=f"how bright a face is, {_width} channels",
        defaults={"width": _width},
        presets={"tiny": {"steps": 4}},
    )
