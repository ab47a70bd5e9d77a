"""Visual Genome's raw JSON to sg2im's files, by the rules of its scripts/preprocess_vg.py.

1. Images whose shorter side has fewer than 200 pixels are left out.
2. Object names and predicates are replaced by the canonical names of the alias files; predicates
   are stripped and in lower case first, names are as typed.
3. The vocabulary is counted over the train split: object names and attributes with 2,000 objects,
   commonest first, and predicates with 500 relationships between kept objects, in order of
   appearance. In front of them are `__image__` and `__in_image__`.
4. An object's class is the first of its names that is in the vocabulary; objects without one, or
   with fewer than 32 pixels of width or height, are left out, and their relationships with them.
5. Images with 3 to 30 objects and 1 to 30 relationships are kept.

Like the script, only relationships of the train split are counted and rewritten by rule 2: in the
others a predicate must be typed as the vocabulary has it (`normalize_held_out` mends that).
Where the script leaves the order to chance (names of equal counts) appearance decides: the same
input gives the same bytes. `dataset` describes the files' layout.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import bad_input
from autoenc_sg.data.base.json_files import read_json, write_json
from autoenc_sg.data.sg2im_vg.dataset import SIZES_NAME, VOCAB_NAME
from autoenc_sg.data.sg2im_vg.padded_tables import (
    Flags,
    Members,
    Relations,
    attribute_tables,
    by_appearance,
    commonest,
    first_known,
    known_ids,
    object_tables,
    relation_tables,
)
from autoenc_sg.data.sg2im_vg.raw_json import (
    Ints,
    NamedEntries,
    NameIds,
    RawRelations,
    read_attributes,
    read_objects,
    read_relations,
    read_sg2im_aliases,
)
from autoenc_sg.data.sg2im_vg.rules import SPLITS, RawFiles, Sg2imCounts, Sg2imRules
from autoenc_sg.data.sg2im_vg.vocabulary import IMAGE, IN_IMAGE
from autoenc_sg.data.vg150.files import read_image_data
from autoenc_sg.data.vg150.from_raw.raw_json import find_raw, report_megabytes
from autoenc_sg.visualization.progress import Reporter

SPLITS_NAME, RANDOM_SPLITS = "vg_splits.json", "random"


def build_sg2im_vg(
    files: RawFiles,
    out: Path,
    rules: Sg2imRules | None = None,
    reporter: Reporter | None = None,
) -> Sg2imCounts:
    """Write `train.h5`, `val.h5`, `test.h5`, `vocab.json` (and `image_data.json`) to `out`.

    Args:
        files: see `RawFiles`.
        out: the folder to write to; it may be that of the raw files.
        rules: thresholds; None: sg2im's.
        reporter: gets the megabytes read, as the stage `raw_json.STAGE`.

    Raises:
        InputError: a file is missing or has another form, or no train image is left.
    """
    rules = rules or Sg2imRules()
    table, paths = _read_images(files.raw / SIZES_NAME)
    splits, counts = _usable(_read_splits(files, table), table, rules.min_image_size)
    places = {i: place for place, i in enumerate(i for ids in splits.values() for i in ids)}
    names = _Names.of(files)
    raw = _read(files.raw, places, names, reporter)
    bounds = np.cumsum([0, *(len(ids) for ids in splits.values())])
    train = np.arange(len(places)) < bounds[1]
    vocab, tables = _encoded(raw, names, train, bounds, rules)
    image_ids = np.array(list(places), dtype=np.int32)
    for split, split_tables in zip(splits, tables):
        split_tables["image_ids"] = image_ids[split_tables["image_ids"]]
        counts.add(split, split_tables)
    counts.name(vocab)
    if not counts.kept["train"]:
        raise bad_input(files.raw, "train images with objects and relationships", "none left")
    _write(out, dict(zip(splits, tables)), vocab, paths)
    if out.resolve() != files.raw.resolve():
        _write_sizes(out / SIZES_NAME, table)
    return counts


@dataclass(frozen=True, eq=False)
class _Names:
    """The names read so far, as typed or as their aliases."""

    objects: NameIds
    attributes: NameIds
    predicates: NameIds
    predicate_aliases: dict[str, str]

    @classmethod
    def of(cls, files: RawFiles) -> _Names:
        objects, predicates = (
            read_sg2im_aliases(path or files.raw / name)
            for path, name in (
                (files.object_aliases, "object_alias.txt"),
                (files.relationship_aliases, "relationship_alias.txt"),
            )
        )
        return cls(NameIds(objects), NameIds({}), NameIds({}), predicates)

    def rewritten(self) -> tuple[Ints, list[str]]:
        """Rule 2: for each predicate as typed the id of what it becomes, and the names of those."""
        ids = NameIds(self.predicate_aliases)
        rewritten_ids = [ids.id(name.lower().strip()) for name in self.predicates.names]
        return np.array(rewritten_ids, dtype=np.int64), ids.names


class _Raw(NamedTuple):
    objects: NamedEntries
    attributes: NamedEntries
    relations: RawRelations


def _read(raw: Path, places: Mapping[int, int], names: _Names, reporter: Reporter | None) -> _Raw:
    paths = [find_raw(raw, f"{n}.json") for n in ("objects", "attributes", "relationships")]
    with report_megabytes(paths, reporter) as progress:
        return _Raw(
            read_objects(paths[0], places, names.objects, progress),
            read_attributes(paths[1], places, names.attributes, progress),
            read_relations(paths[2], places, names.predicates, progress),
        )


def _encoded(
    raw: _Raw, names: _Names, train: Flags, bounds: Ints, rules: Sg2imRules
) -> tuple[dict[str, Any], list[dict[str, NDArray[Any]]]]:
    """The vocabulary, and each split's tables; `image_ids` are still row numbers."""
    num_objects, num_attributes = len(names.objects.names), len(names.attributes.names)
    objects = commonest(raw.objects, train, num_objects, rules.min_object_instances)
    objects = objects[[names.objects.names[i] != IMAGE for i in objects.tolist()]]
    attributes = commonest(raw.attributes, train, num_attributes, rules.min_attribute_instances)
    labels = first_known(raw.objects, known_ids(objects, num_objects, 1))
    members = Members.of(raw.objects, labels, rules.min_object_size, len(train))
    predicates, relations = _relations(raw.relations, names, members, train, rules)
    images = np.flatnonzero(rules.enough(members.counts, relations.counts))
    attribute_id_of_name = known_ids(attributes, num_attributes, 0)
    widths = (rules.max_objects_per_image, rules.max_attributes_per_image)
    tables: list[dict[str, NDArray[Any]]] = []
    for start, end in pairwise(bounds):
        in_split = images[(images >= start) & (images < end)]
        tables.append(
            {
                "image_ids": in_split,
                **object_tables(members, in_split, rules.max_objects_per_image),
                **relation_tables(relations, in_split, rules.max_relationships_per_image),
                **attribute_tables(members, raw.attributes, attribute_id_of_name, in_split, widths),
            }
        )
    vocab = {
        **_vocab("object", [IMAGE, *(names.objects.names[i] for i in objects.tolist())]),
        **_vocab("attribute", [names.attributes.names[i] for i in attributes.tolist()]),
        **_vocab("pred", [IN_IMAGE, *predicates]),
    }
    return vocab, tables


def _relations(
    raw: RawRelations, names: _Names, members: Members, train: Flags, rules: Sg2imRules
) -> tuple[list[str], Relations]:
    """Rules 2 and 3 for predicates: their names, and the relationships between kept objects."""
    ends = members.index_of(raw.ends)
    rewritten, texts = names.rewritten()
    counted = train[raw.image] & (ends >= 0).all(1)
    rewritten_predicates = rewritten[raw.predicates]
    least = rules.min_relationship_instances
    chosen = by_appearance(rewritten_predicates[counted], len(texts), least)
    chosen = chosen[[texts[i] != IN_IMAGE for i in chosen.tolist()]]
    predicate_id_of_name = known_ids(chosen, len(texts), 1)
    id_of = {texts[i]: int(predicate_id_of_name[i]) for i in chosen.tolist()}
    as_typed = np.array([id_of.get(name, -1) for name in names.predicates.names], dtype=np.int64)
    is_rewritten = counted | rules.normalize_held_out
    predicates = np.where(
        is_rewritten, predicate_id_of_name[rewritten_predicates], as_typed[raw.predicates]
    )
    ranks = [members.rank_of(raw.image, ends[:, side]) for side in (0, 1)]
    values = np.stack([raw.ids, ranks[0], predicates, ranks[1]], 1)
    return [texts[i] for i in chosen.tolist()], Relations.of(raw.image, values, len(train))


def _vocab(kind: str, names: Sequence[str]) -> dict[str, Any]:
    return {
        f"{kind}_name_to_idx": {name: i for i, name in enumerate(names)},
        f"{kind}_idx_to_name": list(names),
    }


def _read_images(path: Path) -> tuple[dict[int, tuple[int, int]], dict[int, str]]:
    """Height and width, and the path in the archive, of each image by its id."""
    sizes = {i: (height, width) for i, height, width in read_image_data(path).tolist()}
    paths = {}
    for entry in read_json(path):
        image_id = int(entry.get("image_id", entry.get("id")))
        parts = str(entry.get("url") or f"VG_100K/{image_id}.jpg").split("/")
        paths[image_id] = "/".join(parts[-2:])
    return sizes, paths


def _read_splits(files: RawFiles, sizes: Mapping[int, Any]) -> dict[str, list[int]]:
    path = files.splits or files.raw / SPLITS_NAME
    if str(path) == RANDOM_SPLITS:
        ids = sorted(sizes)
        random.Random(0).shuffle(ids)
        cuts = [len(ids) * 8 // 10, len(ids) * 9 // 10]
        return dict(zip(SPLITS, (sorted(ids[a:b]) for a, b in zip([0, *cuts], [*cuts, None]))))
    if files.splits is None and not path.is_file():
        expected = f"sg2im's list of image ids (--splits FILE, or --splits {RANDOM_SPLITS})"
        raise bad_input(path, expected, "no such file")
    splits = read_json(path)
    if not isinstance(splits, dict) or set(splits) != set(SPLITS):
        got = sorted(splits) if isinstance(splits, dict) else type(splits).__name__
        raise bad_input(path, f"image ids by {', '.join(SPLITS)}", got)
    for split, ids in splits.items():
        if not isinstance(ids, list) or not all(type(i) is int and 0 <= i < 1 << 31 for i in ids):
            raise bad_input(f"{path} {split!r}", "a list of image ids", repr(ids)[:40])
    everything = [i for split in SPLITS for i in splits[split]]
    if len(set(everything)) < len(everything):
        raise bad_input(path, "each image in one split, once", "an image twice")
    return {split: splits[split] for split in SPLITS}


def _usable(
    splits: Mapping[str, list[int]], sizes: Mapping[int, tuple[int, int]], least: int
) -> tuple[dict[str, list[int]], Sg2imCounts]:
    """The images that are known and large enough."""
    counts, usable = Sg2imCounts(), {}
    for split, ids in splits.items():
        listed = [i for i in ids if i in sizes]
        usable[split] = [i for i in listed if min(sizes[i]) >= least]
        counts.images[split] = len(ids)
        counts.unknown[split] = len(ids) - len(listed)
        counts.small[split] = len(listed) - len(usable[split])
    return usable, counts


def _write(
    out: Path,
    tables: Mapping[str, Mapping[str, NDArray[Any]]],
    vocab: Mapping[str, Any],
    paths: Mapping[int, str],
) -> None:
    for split, split_tables in tables.items():
        with (
            replacing(out / f"{split}.h5") as temporary,
            h5py.File(temporary, "w") as file,
        ):
            for name in sorted(split_tables):
                file.create_dataset(name, data=split_tables[name], track_times=False)
            texts = [paths[i] for i in split_tables["image_ids"].tolist()]
            data = np.array(texts, dtype=object)
            file.create_dataset(
                "image_paths", data=data, dtype=h5py.string_dtype(), track_times=False
            )
    write_json(out / VOCAB_NAME, vocab)


def _write_sizes(path: Path, sizes: Mapping[int, tuple[int, int]]) -> None:
    entries = [{"image_id": i, "width": w, "height": h} for i, (h, w) in sizes.items()]
    write_json(path, entries)
