"""Opening a data set by its configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

from autoenc_sg.config.data import DataConfig, FormatName
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.annotation import choose_unannotated
from autoenc_sg.data.base.dataset import AnnotatedDataset
from autoenc_sg.data.base.samples import Split
from autoenc_sg.data.base.unannotated import UnannotatedImages
from autoenc_sg.data.coco.dataset import CocoRules, open_coco, open_coco_export
from autoenc_sg.data.coco.exports import find_export, has_relations
from autoenc_sg.data.coco.stuff import CocoStuffRules, open_coco_stuff
from autoenc_sg.data.formats.coco_vg150 import open_coco_vg150
from autoenc_sg.data.formats.psg import open_psg
from autoenc_sg.data.formats.vrd import open_vrd
from autoenc_sg.data.images.cache import open_cache
from autoenc_sg.data.images.photo_files import PhotoStore
from autoenc_sg.data.images.readable import ReadableFolders
from autoenc_sg.data.images.store import ImageStore, find_images
from autoenc_sg.data.scenes.files import ensure_scenes
from autoenc_sg.data.sg2im_vg.dataset import open_sg2im_vg
from autoenc_sg.data.vg150.dataset import open_vg150
from autoenc_sg.data.vg150.files import read_annotations, use_pseudo_relations


def open_dataset(config: DataConfig, split: Split, seed: int = 0) -> AnnotatedDataset:
    """One split of the configured data; drawn scenes are made where there are none yet.

    Args:
        config: format, place and filters.
        split: `train`, `val` or `test`; flips happen in `train` only.
        seed: of everything random in reading (not of drawing scenes).

    Raises:
        InputError: a file is missing or damaged, or the scenes there have other settings.
    """
    if not isinstance(config, DataConfig):
        raise bad_input("data set", "a DataConfig, such as config.data", type(config).__name__)
    if split not in get_args(Split):
        raise bad_input("split", f"one of {', '.join(get_args(Split))}", repr(split))
    dataset = _open(config, split, seed)
    if split == "train":
        fraction, chooser = config.annotated_fraction, config.annotated_seed
        dataset.unannotated = choose_unannotated(dataset.image_ids, fraction, chooser)
    if config.cache:
        path = Path(config.root) / config.cache / f"{_cache_name(config, split)}.cache"
        dataset.store.cache = open_cache(path, dataset.store)
    return dataset


def open_unannotated(config: DataConfig, vocabulary: Vocabulary, seed: int) -> UnannotatedImages:
    """The images of `config.unannotated`: of a data set's train split, else of a folder of photos.

    Args:
        config: how images are shrunk and mirrored and how validation images are cut off; its folder
            is not read.
        vocabulary: of the graphs, which are empty.
        seed: of mirroring.

    Raises:
        InputError: there is no such folder, no readable photo in it, or its files are damaged.
    """
    root = Path(config.unannotated)
    if not root.is_dir():
        got = "a file" if root.exists() else "nothing there"
        raise bad_input("data.unannotated", f"a folder ({root})", got)
    name = recognized_format(root)
    if name is None:
        photos = PhotoStore(root, config.short_side or None)
        return UnannotatedImages(photos, range(len(photos)), vocabulary, seed, config.flip)
    others = DataConfig(
        format=name,
        root=config.unannotated,
        short_side=config.short_side,
        num_val=config.num_val,
        filter_empty_relations=False,
        allow_outside=config.allow_outside,
    )
    images = open_dataset(others, "train", seed)
    if not len(images.store):
        raise bad_input("data.unannotated", "a data set with images", f"{root}, which has none")
    return UnannotatedImages(images.store, images.image_ids, vocabulary, seed, config.flip)


_MARKS: tuple[tuple[FormatName, str], ...] = (
    ("vg150", "VG-SGG.h5"),
    ("vg150", "VG-SGG-with-attri.h5"),
    ("coco_vg150", "rel.json"),
    ("vrd", "annotations_train.json"),
    ("psg", "psg.json"),
    ("coco", "instances.json"),
    ("coco_stuff", "annotations/instances_train2017.json"),
    ("sg2im_vg", "vocab.json"),
    ("vg150", "VG-SGG-dicts.json"),
    ("coco", "train/_annotations.coco.json"),
    ("coco", "annotations/instances_default.json"),
    ("coco", "annotations.json"),
)


def find_format(root: Path) -> FormatName:
    """The format of the files in a folder.

    Raises:
        InputError: none is known.
    """
    name = recognized_format(root)
    if name is None:
        files = ", ".join(mark for _, mark in _MARKS)
        raise bad_input(root, f"the files of a data set (one of {files})", "none of them")
    return name


def recognized_format(root: Path) -> FormatName | None:
    """`find_format`, None if none is known."""
    for name, mark in _MARKS:
        if (root / mark).is_file():
            is_benchmark = name == "coco" and has_relations(root / mark)
            return "coco_vg150" if is_benchmark else name
    return None


def _open(config: DataConfig, split: Split, seed: int) -> AnnotatedDataset:
    check_links(config)
    if config.format == "coco":
        return _open_coco(config, split, seed)
    if config.format in ("coco_vg150", "vrd", "psg"):
        return _open_records(config, split, seed)
    if config.format in ("coco_stuff", "sg2im_vg"):
        return _open_sources(config, split, seed)
    root = Path(config.root)
    if config.format == "scenes":
        ensure_scenes(root, config.scenes)
    data = use_pseudo_relations(
        read_annotations(root), config.pseudo_relations, config.pseudo_threshold
    )
    return open_vg150(
        data,
        split,
        config.num_val,
        config.filter_empty_relations,
        config.filter_overlap,
        config.flip,
        seed,
        ImageStore(
            find_images(root, _images(config), readable_folders(config)), config.short_side or None
        ),
    )


def _open_coco(config: DataConfig, split: Split, seed: int) -> AnnotatedDataset:
    root = Path(config.root)
    export = None if config.annotations else find_export(root)
    rules = CocoRules(
        config.num_val,
        config.num_test,
        stuff=root / config.stuff if config.stuff else None,
        mask_size=config.mask_size or 0,
        only_used=export is not None,
    )
    short_side, readable = config.short_side or None, readable_folders(config)
    if export is not None and export.is_split:
        return open_coco_export(export, split, rules, config.flip, seed, short_side, readable)
    path, images = root / (config.annotations or "instances.json"), root / config.images
    if export is not None:
        path = export.files["train"]
        images = root / config.images if config.images else export.images or path.parent
    return open_coco(
        path,
        images,
        split,
        rules,
        config.flip,
        seed,
        short_side,
        readable,
    )


def _open_records(config: DataConfig, split: Split, seed: int) -> AnnotatedDataset:
    root, images, flip = Path(config.root), _images(config), config.flip
    short_side, readable = config.short_side or None, readable_folders(config)
    if config.format == "coco_vg150":
        empty = config.filter_empty_relations
        return open_coco_vg150(root, split, images, empty, flip, seed, short_side, readable)
    if config.format == "vrd":
        return open_vrd(root, split, images, config.num_val, flip, seed, short_side, readable)
    path = root / (config.annotations or "psg.json")
    return open_psg(path, images or root, split, config.num_val, flip, seed, short_side, readable)


def _open_sources(config: DataConfig, split: Split, seed: int) -> AnnotatedDataset:
    root, images, flip = Path(config.root), _images(config), config.flip
    short_side, readable = config.short_side or None, readable_folders(config)
    if config.format == "sg2im_vg":
        limit = config.max_objects
        return open_sg2im_vg(root, split, images, limit, flip, seed, short_side, readable)
    rules = CocoStuffRules(config.num_val)
    if config.mask_size is not None:
        rules = replace(rules, mask_size=config.mask_size)
    return open_coco_stuff(root, split, images, rules, flip, seed, short_side, readable)


def coco_files(config: DataConfig) -> list[Path]:
    """The annotation files of `coco`: the named one, those of an export, or `instances.json`."""
    root = Path(config.root)
    export = None if config.annotations else find_export(root)
    if export is not None:
        return list(export.files.values())
    return [root / (config.annotations or "instances.json")]


def readable_folders(config: DataConfig) -> ReadableFolders:
    """The data set's folder and those of the images and files that the configuration names."""
    if config.allow_outside:
        return ReadableFolders(None)
    root = Path(config.root)
    named = [root / name for name in (config.annotations, config.stuff) if name]
    folders = [root, *(path.parent for path in named)]
    return ReadableFolders([*folders, root / config.images] if config.images else folders)


def check_links(config: DataConfig) -> None:
    """Check that no annotation file is a link to one outside of the data set's folder.

    Raises:
        InputError: one is.
    """
    root, readable = Path(config.root), readable_folders(config)
    for pattern in ("*.json", "*.h5", "*/*.json"):
        for path in root.glob(pattern):
            if path.is_symlink() or path.parent.is_symlink():
                readable.check(path, path)


def _images(config: DataConfig) -> Path | None:
    return Path(config.root) / config.images if config.images else None


def _cache_name(config: DataConfig, split: Split) -> str:
    """Splits that are cut from the same images share a cache."""
    if config.format in ("coco_vg150", "coco_stuff", "sg2im_vg"):
        return split
    if config.format == "coco" and not config.annotations:
        export = find_export(Path(config.root))
        return split if export is not None and export.is_split else "images"
    if config.format in ("vrd", "psg"):
        return "test" if split == "test" else "train"
    return "images"
