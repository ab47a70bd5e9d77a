"""Visual Genome's raw JSON to the VG150 files, by the rules of vg_to_roidb.py (Xu et al.).

1. Objects that appear only in relationships are added to the image's objects.
2. Names are normalized (`names`), then aliases are replaced by their canonical names.
3. Boxes of at most 0.2 % of the image are left out; overlapping boxes are merged (`merge_boxes`).
4. The vocabulary is the 150 commonest names of the merged objects and the 50 commonest predicates
   (of given lists, where there are any), in alphabetical order.
5. An object's class is the commonest of its names; objects without a known name go, and with them,
   with unknown predicates, and between parts of one merged object, relationships.
6. The first 70 % of the images, in order of image_data.json, are the train split.

Where the published script leaves the result to chance (names of equal counts), the alphabet
decides: the same input gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.vg150.files import BROKEN_IMAGES, TEST, TRAIN, read_image_data
from autoenc_sg.data.vg150.from_raw.names import NameTable, read_aliases
from autoenc_sg.data.vg150.from_raw.per_image import CompactCounts, CompactImage, RawNames, compact
from autoenc_sg.data.vg150.from_raw.raw_json import find_raw, report_megabytes, stream_images
from autoenc_sg.data.vg150.from_raw.vocabulary import (
    ChosenNames,
    MergedAnnotations,
    choose_names,
    commonest_of_each,
    concatenated,
)
from autoenc_sg.data.vg150.writing import (
    encode_pixel_boxes,
    inclusive_ranges,
    vocabulary_dicts,
    write_tables,
)
from autoenc_sg.visualization.progress import Reporter
from autoenc_sg.visualization.tables import Table

Array = NDArray[Any]


@dataclass(frozen=True)
class BuildRules:
    """Which names, boxes and images; the defaults are those of VG150.

    Attributes:
        num_objects, num_predicates: size of the vocabulary; 0: all names.
        object_list, predicate_list: files of the only names to choose from, or None.
        object_aliases, predicate_aliases: alias files, or None.
        min_area: boxes up to this fraction of the image are left out.
        train_fraction: of the images, in order.
        skip: image ids to leave out, by default the four that are not in VG150.
    """

    num_objects: int = 150
    num_predicates: int = 50
    object_list: Path | None = None
    predicate_list: Path | None = None
    object_aliases: Path | None = None
    predicate_aliases: Path | None = None
    min_area: float = 0.002
    train_fraction: float = 0.7
    skip: frozenset[int] = BROKEN_IMAGES

    def __post_init__(self) -> None:
        for name in ("num_objects", "num_predicates"):
            if getattr(self, name) < 0:
                raise bad_input(name, ">= 0", getattr(self, name))
        for name, most in (("min_area", 0.999), ("train_fraction", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                raise bad_input(name, f"0..{most:g}", getattr(self, name))


@dataclass
class BuildCounts(CompactCounts):
    """Raw annotations by outcome: kept, merged or left out."""

    images: int = 0
    images_without_annotations: int = 0
    annotated_images_left_out: int = 0
    unnamed_objects: int = 0
    objects: int = 0
    unnamed_relationships: int = 0
    relationships: int = 0
    object_classes: int = 0
    predicates: int = 0

    def table(self) -> Table:
        """For the terminal."""
        rows = [[f.name.replace("_", " "), getattr(self, f.name)] for f in fields(self)]
        return Table("Visual Genome's raw files to VG150 files", ["what", "count"], rows)


def build_vg150(
    raw: Path, out: Path, rules: BuildRules = BuildRules(), reporter: Reporter | None = None
) -> BuildCounts:
    """Write `VG-SGG.h5`, `VG-SGG-dicts.json` and `image_data.json` to `out`.

    Args:
        raw: the folder of objects.json, relationships.json (or the zips of them) and
            image_data.json.
        out: the folder to write to; it may be `raw`.
        rules: see `BuildRules`.
        reporter: gets the megabytes read, as the stage `raw_json.STAGE`.

    Raises:
        InputError: a file is missing or has another form, or no object or relationship is left.
    """
    table = read_image_data(raw / "image_data.json").numpy()
    table = table[~np.isin(table[:, 0], list(rules.skip))]
    counts, names = BuildCounts(images=len(table)), _name_tables(rules)
    images = concatenated(_read(raw, table, rules.min_area, counts, names, reporter))
    frequency = np.bincount(images.names, minlength=len(names.objects.names))
    predicate_frequency = np.zeros(len(names.predicates.names), np.int64)
    predicate_frequency[list(names.predicate_counts)] = list(names.predicate_counts.values())
    objects = choose_names(names.objects.names, frequency, rules.num_objects, rules.object_list)
    predicates = choose_names(
        names.predicates.names, predicate_frequency, rules.num_predicates, rules.predicate_list
    )
    labels = commonest_of_each(images.names, images.name_counts, objects.ids, frequency)
    counts.object_classes, counts.predicates = len(objects.rows), len(predicates.rows)
    tables = _tables(images, labels, predicates, table, counts)
    tables["split"] = _split(len(table), rules.train_fraction)
    vocabulary = Vocabulary.from_names(
        [names.objects.names[i] for i in objects.rows],
        [names.predicates.names[i] for i in predicates.rows],
    )
    dicts = vocabulary_dicts(
        vocabulary, frequency[objects.rows].tolist(), predicate_frequency[predicates.rows].tolist()
    )
    write_tables(out, tables, dicts, None if out.resolve() == raw.resolve() else table)
    return counts


def _name_tables(rules: BuildRules) -> RawNames:
    objects, predicates = (
        NameTable({} if path is None else read_aliases(path))
        for path in (rules.object_aliases, rules.predicate_aliases)
    )
    return RawNames(objects, predicates)


def _read(
    raw: Path,
    table: Array,
    min_area: float,
    counts: BuildCounts,
    names: RawNames,
    reporter: Reporter | None,
) -> list[CompactImage]:
    paths = find_raw(raw, "objects.json"), find_raw(raw, "relationships.json")
    places = {image_id: place for place, image_id in enumerate(table[:, 0].tolist())}
    areas = (table[:, 1] * table[:, 2] * min_area).tolist()
    images = [CompactImage.empty()] * len(table)
    with report_megabytes(paths, reporter) as progress:
        for image in stream_images(*paths, progress):
            place = places.pop(image.image_id, None)
            if place is None:
                counts.annotated_images_left_out += 1
            else:
                images[place] = compact(image, areas[place], names, counts)
    counts.images_without_annotations = len(places)
    return images


def _tables(
    images: MergedAnnotations,
    labels: Array,
    predicates: ChosenNames,
    table: Array,
    counts: BuildCounts,
) -> dict[str, Array]:
    """The h5's tables of the objects and relationships with names in the vocabulary."""
    has_class = labels > 0
    rows = has_class.cumsum() - 1
    predicate = predicates.ids[images.relations[:, 1]]
    ends = images.relations[:, [0, 2]]
    is_kept = has_class[ends].all(1) & (predicate > 0)
    counts.objects, counts.relationships = int(has_class.sum()), int(is_kept.sum())
    counts.unnamed_objects = int((~has_class).sum())
    counts.unnamed_relationships = int((~is_kept).sum())
    if not counts.objects or not counts.relationships:
        raise bad_input("Visual Genome's raw files", "some objects and relationships", "none left")
    owner = images.image_of_box[has_class]
    boxes, sizes = images.boxes[has_class], table[owner, 1:]
    per_image = np.bincount(owner, minlength=len(table))
    relations_per_image = np.bincount(images.image_of_relation[is_kept], minlength=len(table))
    return {
        "labels": labels[has_class][:, None],
        "boxes_512": encode_pixel_boxes(boxes, sizes, 512),
        "boxes_1024": encode_pixel_boxes(boxes, sizes, 1024),
        "predicates": predicate[is_kept][:, None],
        "relationships": rows[ends[is_kept]].astype(np.int32),
        **inclusive_ranges("box", per_image),
        **inclusive_ranges("rel", relations_per_image),
    }


def _split(count: int, train_fraction: float) -> Array:
    places = np.arange(count)
    return np.where(places < int(count * train_fraction), TRAIN, TEST).astype(np.int32)
