"""The commands `data vg150`, `data from-jsonl`, `data relate`, `data verify` and `data stats`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from autoenc_sg.cli.options import Command
from autoenc_sg.config.data import DataConfig, FormatName
from autoenc_sg.core.errors import bad_input

if TYPE_CHECKING:
    from autoenc_sg.data.relate.names import NameFiles
    from autoenc_sg.data.relate.propose import RelateOptions
    from autoenc_sg.data.vg150.from_raw.build import BuildRules


@dataclass(frozen=True)
class DataSource:
    """Which data set.

    Attributes:
        root: folder of the data set.
        format: of its files, as data.format in docs/data.md; auto: by the names of the files.
        annotations: JSON file in it, as data.annotations.
        images: folder of the images in it, as data.images.
        num_test: images of the test split (coco only), as data.num_test.
        allow_outside: read images outside of the folder too, as data.allow_outside.
    """

    root: Path = field(kw_only=True)
    format: Literal["auto", FormatName] = "auto"
    annotations: str = ""
    images: str = ""
    num_test: int | None = None
    allow_outside: bool = False

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise bad_input(self.root, "the folder of a data set", "no such folder")

    def config(self) -> DataConfig:
        """The configuration section `data` that reads it.

        Raises:
            InputError: the format is `auto`, and no file in the folder is of a known format.
        """
        from autoenc_sg.data.open import find_format

        name = find_format(self.root) if self.format == "auto" else self.format
        return DataConfig(
            name,
            str(self.root),
            annotations=self.annotations,
            images=self.images,
            num_test=self.num_test,
            allow_outside=self.allow_outside,
        )


@dataclass(frozen=True)
class Vg150Command:
    """Options of `data vg150`.

    Attributes:
        root: folder of the VG150 files.
        images: folder, zip or imdb_1024.h5 of the images.
        missing: file to write the ids of missing images to.
        raw: folder of objects.json, relationships.json and image_data.json.
        objects: number of classes, the most frequent names; 0: all.
        predicates: number of predicates, the most frequent names; 0: all.
        object_list, predicate_list: file of the only names to choose from.
        object_aliases, predicate_aliases: file of lines name,alias,alias,…
        min_area: boxes of at most this fraction of the image are left out.
        train_fraction: fraction of the images in the train split, the first ones.
    """

    root: Path = field(kw_only=True)
    images: Path | None = None
    missing: Path | None = None
    raw: Path | None = None
    objects: int = 150
    predicates: int = 50
    object_list: Path | None = None
    predicate_list: Path | None = None
    object_aliases: Path | None = None
    predicate_aliases: Path | None = None
    min_area: float = 0.002
    train_fraction: float = 0.7

    def rules(self) -> BuildRules:
        """How to build the files from the raw JSON."""
        from autoenc_sg.data.vg150.from_raw.build import BuildRules

        return BuildRules(
            num_objects=self.objects,
            num_predicates=self.predicates,
            object_list=self.object_list,
            predicate_list=self.predicate_list,
            object_aliases=self.object_aliases,
            predicate_aliases=self.predicate_aliases,
            min_area=self.min_area,
            train_fraction=self.train_fraction,
        )


@dataclass(frozen=True)
class FromJsonlCommand:
    """Options of `data from-jsonl`.

    Attributes:
        file: annotations, one JSON object a line; see docs/own_data.md.
        out: folder to make.
        vocabulary: VG-SGG-dicts.json of the only names to allow, in its order.
        train_fraction: fraction of the images in the train split, if no line names a split.
        link: link the photos instead of copying them.
    """

    file: Path
    out: Path = field(kw_only=True)
    vocabulary: Path | None = None
    train_fraction: float = 0.7
    link: bool = False


@dataclass(frozen=True)
class RelateCommand:
    """Options of `data relate`.

    Attributes:
        boxes: folder of VG150 files, of COCO's instances.json or of labelme's JSON files, a COCO
            file, or JSON Lines.
        prior: folder of a data set with relations of humans; its photos are not needed.
        out: folder to make.
        images: folder (VG150: also zip or h5) of the photos of BOXES.
        predicates: of the prior, to keep; all, if it is not said.
        least_probability: of a relation that the prior or a caption proposes, in 0..1.
        most_per_image: pseudo-relations of an image at most.
        unmapped: pairs with a class that maps to nothing are judged by geometry and their other
            class, or not at all (skip).
        beside_human: propose other predicates for pairs that have a relation of a human.
        captions: read relations from the captions of the JSON Lines, too.
        geometric: left of, right of, above, below, inside or surrounding for objects that have no
            other relation.
        mapping: JSON of names, class in BOXES to class in the prior or null.
        aliases: file of lines name,alias,alias,…
        word_vectors: .npz with words and vectors, for classes that map to nothing else.
        least_similarity: cosine of the vectors of two names that makes them one.
        train_fraction: fraction of the images in the train split, where none is stated.
        link: link the photos instead of copying them.
        seed: of the prior's training.
    """

    boxes: Path
    prior: Path = field(kw_only=True)
    out: Path = field(kw_only=True)
    images: Path | None = None
    predicates: tuple[str, ...] = ()
    least_probability: float = 0.2
    most_per_image: int = 20
    unmapped: Literal["geometry", "skip"] = "geometry"
    beside_human: bool = False
    captions: bool = False
    geometric: bool = False
    mapping: Path | None = None
    aliases: Path | None = None
    word_vectors: Path | None = None
    least_similarity: float = 0.75
    train_fraction: float = 0.7
    link: bool = False
    seed: int = 0

    def options(self) -> RelateOptions:
        """Which pseudo-relations are proposed."""
        from autoenc_sg.data.relate.propose import RelateOptions

        return RelateOptions(
            predicates=self.predicates,
            least_probability=self.least_probability,
            most_per_image=self.most_per_image,
            unmapped=self.unmapped,
            beside_human=self.beside_human,
            captions=self.captions,
            geometric=self.geometric,
            seed=self.seed,
        )

    def files(self) -> NameFiles:
        """How names are mapped."""
        from autoenc_sg.data.relate.names import NameFiles

        return NameFiles(self.mapping, self.aliases, self.word_vectors, self.least_similarity)


@dataclass(frozen=True)
class VerifyCommand(DataSource):
    """Options of `data verify`, beside those of the data set.

    Attributes:
        quick: read only the headers of the images, do not decode them.
        json: also write the findings to this file.
    """

    quick: bool = False
    json: Path | None = None


@dataclass(frozen=True)
class StatsCommand(DataSource):
    """Options of `data stats`, beside those of the data set.

    Attributes:
        out: folder to write to.
        samples: number of images to draw with their graphs.
        seed: of the choice of the images.
    """

    out: Path = Path("stats")
    samples: int = 8
    seed: int = 0


def _vg150(options: Vg150Command) -> int:
    from rich.console import Console

    from autoenc_sg.data.images.store import find_images
    from autoenc_sg.data.vg150.counts import count_images, missing_images
    from autoenc_sg.data.vg150.files import file_paths, read_annotations
    from autoenc_sg.data.vg150.from_raw.build import build_vg150

    root = options.root
    if options.raw is not None or _has_only_raw_files(root):
        counts = build_vg150(options.raw or root, root, options.rules())
        Console().print(counts.table().to_rich())
    data, places = read_annotations(root), find_images(root, options.images)
    Console().print(count_images(data, places).to_rich())
    missing = missing_images(data, places)
    if options.missing is not None:
        _write_lines(options.missing, missing)
    elif missing and places:
        first_ids = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
        print(f"missing images, which are left out: {first_ids} (all of them: --missing FILE)")
    print(file_paths(root)[0])
    return 0


def _has_only_raw_files(root: Path) -> bool:
    from autoenc_sg.data.vg150.files import file_paths

    raw = any((root / name).is_file() for name in ("objects.json", "objects.json.zip"))
    return raw and not file_paths(root)[0].exists()


def _write_lines(path: Path, lines: list[int]) -> None:
    from autoenc_sg.core.atomic_files import replacing

    with replacing(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _from_jsonl(options: FromJsonlCommand) -> int:
    from autoenc_sg.data.vg150.files import read_vocabulary
    from autoenc_sg.data.vg150.from_jsonl import convert_lines

    vocabulary = None if options.vocabulary is None else read_vocabulary(options.vocabulary)
    count = convert_lines(
        options.file, options.out, vocabulary, options.train_fraction, options.link
    )
    print(f"{count} photos -> {options.out}")
    return 0


def _relate(options: RelateCommand) -> int:
    from autoenc_sg.cli.tasks import print_tables
    from autoenc_sg.data.relate.relate import relate

    related = relate(
        options.boxes,
        options.prior,
        options.out,
        options.options(),
        options.files(),
        images=options.images,
        train_fraction=options.train_fraction,
        link=options.link,
    )
    print_tables([related.mapping.table(), related.table()])
    unmapped = related.mapping.unmapped
    if unmapped:
        print(f"classes that map to nothing: {', '.join(unmapped)} (--mapping names them)")
    print(options.out)
    return 0


def _verify(options: VerifyCommand) -> int:
    from rich.console import Console

    from autoenc_sg.data.inspect.verify import verify

    outcome = verify(options.config(), not options.quick)
    console = Console()
    console.print(outcome.counts.to_rich())
    if outcome.findings:
        console.print(outcome.table().to_rich())
    for finding in outcome.findings:
        print(f"{finding.kind}: {finding.remedy}")
    if options.json is not None:
        outcome.write_json(options.json)
    print(f"{options.root}: {outcome.verdict}")
    return 0 if outcome.ready else 2


def _stats(options: StatsCommand) -> int:
    from rich.console import Console

    from autoenc_sg.data.inspect.report import PAGE, write_data_report

    report = write_data_report(options.config(), options.out, options.samples, options.seed)
    for table in report.tables[:2]:
        Console().print(table.to_rich())
    print(options.out / PAGE)
    return 0


VG150 = Command(
    "vg150",
    "Visual Genome: read the VG150 files, or build them from the raw JSON",
    Vg150Command,
    _vg150,
    "Without --raw, the files in ROOT are read; where there is no h5 file, they are built from the "
    "raw JSON in ROOT.",
)
FROM_JSONL = Command(
    "from-jsonl", "your own annotated photos to VG150 files", FromJsonlCommand, _from_jsonl
)
RELATE = Command(
    "relate",
    "relations for boxes: proposed by a prior of another data set's graphs",
    RelateCommand,
    _relate,
    "Writes VG150 files. Relations of humans stay; proposed ones are marked, have a score, are in "
    "the train split alone, and are never scored against.",
)
VERIFY = Command("verify", "check that a data set is complete and correct", VerifyCommand, _verify)
STATS = Command("stats", "a page of counts, plots and graphs drawn on photos", StatsCommand, _stats)
