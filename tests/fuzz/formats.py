"""The formats that are fuzzed, by name."""

from __future__ import annotations

from tests.fuzz.annotation_files import CocoFiles, CocoStuffFiles, OwnLines
from tests.fuzz.checkpoint_files import CheckpointFiles
from tests.fuzz.config_files import ConfigFiles
from tests.fuzz.fuzzing import Fuzzer
from tests.fuzz.graph_files import GraphFiles
from tests.fuzz.image_files import ImageFiles
from tests.fuzz.score_files import ScoreFiles
from tests.fuzz.vg150_files import VG150Files

FORMATS: dict[str, type[Fuzzer]] = {
    "graph": GraphFiles,
    "score": ScoreFiles,
    "own_lines": OwnLines,
    "vg150": VG150Files,
    "coco": CocoFiles,
    "coco_stuff": CocoStuffFiles,
    "images": ImageFiles,
    "config": ConfigFiles,
    "checkpoint": CheckpointFiles,
}
