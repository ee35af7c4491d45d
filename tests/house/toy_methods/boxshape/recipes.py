"""What can be trained."""

from lineament.training.registry import register_variant

register_variant(
    "boxshape",
    method="boxshape",
    recipe="boxshape.recipe:BoxShapeRecipe",
    summary="the mean shape of labelled faces",
    presets={"tiny": {"steps": 2, "batch_size": 2}},
)
