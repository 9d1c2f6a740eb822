"""The TFDS builder of the coloured shapes. Imported by `vqjax.data.embedded` when it is needed."""

import tensorflow_datasets as tfds
import tqdm

from vqjax.data.shapes import drawing, grammar, splits

_DESCRIPTION = """\
Coloured shapes on a light background, each picture with a caption in English and in Chinese: one
thing at a place, two to four things alike, or two things and their relation. Drawn by vqjax. A
fifth of the pairs of colour and shape occurs in the splits "train_held_out" and "held_out" alone;
no caption of "test" occurs in another split.
"""


class Shapes(tfds.core.GeneratorBasedBuilder):
    """Coloured shapes with captions; nothing is downloaded."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Six colours, five shapes, two sizes."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=f"{side}px", description=f"Pictures of {side}x{side} pixels.")
        for side in (32, 64)
    ]

    @property
    def _side(self) -> int:
        return int(self.builder_config.name.removesuffix("px"))

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(self._side, self._side, 3)),
            "caption": tfds.features.Text(),
            "caption_zh": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=grammar.KINDS),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(features),
            license="Apache-2.0",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split) for split in splits.NUM_EXAMPLES}

    def _generate_examples(self, split):
        # Shown on a terminal only, and only where this takes a while.
        bar = {"desc": f"drawing {split}", "delay": 2.0, "disable": None, "leave": False}
        for index in tqdm.trange(splits.NUM_EXAMPLES[split], **bar):
            meaning, scene = splits.example(split, index)
            yield (
                index,
                {
                    "image": drawing.draw(scene, self._side),
                    "caption": grammar.caption(meaning, "en"),
                    "caption_zh": grammar.caption(meaning, "zh"),
                    "label": meaning.kind,
                },
            )
