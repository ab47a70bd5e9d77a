"""Real photographs: the data set, the weights and every figure of them, from the folders given.

    python benchmarks/photos.py data --free FOLDER --more FOLDER --prior FOLDER --vectors FILE
        [--out runs/photos_data]
    python benchmarks/photos.py train [--data runs/photos_data] [--out runs/photos] [--threads 2]
    python benchmarks/photos.py package [--data …] [--run runs/photos] [--out weights/photos]
    python benchmarks/photos.py evaluate WEIGHTS --prior FOLDER --vectors FILE [--data …] [--out …]

`--free` holds `annotations.jsonl` and the photographs of COCO val2017 that are free to use, with
relations that people annotated on some; `--more` COCO's `instances.json` and more photographs;
`--prior` VG150 files whose graphs propose relations for the boxes; `--vectors` word vectors that
map COCO's class names to the prior's.

Splits go by photo id, photographs with relations of humans apart from the others, so that test and
validation have some: of those with relations every third is test and every sixth validation, of the
others every eleventh each. Crowd boxes that are marked are left out. `train` runs the phases of
`configs/photos.yaml`, and goes on where it was stopped. `package` chooses the thresholds on `val`,
and writes the weights in half precision; `evaluate` scores them on `test`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout, not installed

from autoenc_sg.cli.main import main as autoenc_sg
from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.data.relate.names import NameFiles
from autoenc_sg.data.relate.propose import RelateOptions
from autoenc_sg.data.relate.relate import relate
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.scoring.evaluate import EvaluationOptions, evaluate_checkpoint, open_splits
from autoenc_sg.scoring.options import ALL_TASKS
from benchmarks.photo_weights import figures, package
from benchmarks.photo_weights.data_set import coco_rows, free_rows, in_splits, write_attribution

# of the prior's predicates those that boxes of COCO's classes can have, by its names
PREDICATES = (
    *("on", "in", "wear", "hold", "rid", "sit on", "stand on", "behind", "in front of"),
    *("near", "next to", "under", "with", "above", "carry", "eat", "on top of", "inside"),
)
ATTRIBUTION = "attribution.csv"


def build(arguments: argparse.Namespace) -> int:
    """The data set with pseudo-relations; validation images lead its train split."""
    rows = in_splits([*free_rows(arguments.free), *coco_rows(arguments.more)])
    columns = ("image", "labels", "boxes", "triples", "captions", "split")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photos.jsonl"
        lines = [json.dumps({key: row[key] for key in columns}) + "\n" for row in rows]
        file.write_text("".join(lines), encoding="utf-8")
        options = RelateOptions(
            predicates=PREDICATES, least_probability=0.3, most_per_image=12, captions=True
        )
        files = NameFiles(word_vectors=arguments.vectors)
        related = relate(file, arguments.prior, arguments.out, options, files, link=True)
    write_attribution(rows, arguments.out / ATTRIBUTION)
    print(related.table().note)
    print({name: sum(row["split"] == name for row in rows) for name in ("train", "test")})
    return 0


def train(arguments: argparse.Namespace) -> int:
    """All phases of the recipe, resumed if they were begun."""
    begun = ["--resume"] if any(arguments.out.glob("checkpoint*.safetensors")) else []
    places = ["--data.root", str(arguments.data), "--out", str(arguments.out)]
    return autoenc_sg(
        ["train", "photos", *begun, *places, "--runtime.threads", str(arguments.threads)]
    )


def pack(arguments: argparse.Namespace) -> int:
    """The weights as a folder to hand on, with thresholds from the validation photographs."""
    torch.set_num_threads(arguments.threads)
    package.write(arguments.run, arguments.data, arguments.out, arguments.data / ATTRIBUTION)
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """All numbers as `figures.json`, and pictures of test photographs."""
    torch.set_num_threads(arguments.threads)
    weights, out = arguments.weights, arguments.out
    options = EvaluationOptions(data=arguments.data, tasks=ALL_TASKS, object_accuracy=True)
    results = evaluate_checkpoint(weights, options)
    numbers = results.to_dict() | {f"AP50 of {n}": v for n, v in results.classes.items()}
    model = AutoEncoder.from_pretrained(weights)
    _, test = open_splits(package.data_config(model.config.data, arguments.data), "test", 0)
    of_prior = figures.recall_of_prior(model, test, arguments.prior, arguments.vectors)
    numbers |= {f"other data set's prior {name}": value for name, value in of_prior.items()}
    graphs = figures.pictures(model, test, out / "photos.png", arguments.with_photos)
    photo = figures.drawn_photo(model, test, arguments.data / "VG_100K")
    numbers |= figures.one_photo(weights, photo, out / "one", arguments.threads)
    numbers["seconds to load"] = figures.timed(lambda: AutoEncoder.from_pretrained(weights))
    with replacing(out / "figures.json") as temporary:
        temporary.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(numbers, indent=1), *graphs, sep="\n")
    if arguments.record:
        package.add_measured(weights, numbers, "benchmarks/photos.py evaluate")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(required=True)
    data = commands.add_parser("data")
    for name in ("free", "more", "prior", "vectors"):
        data.add_argument(f"--{name}", type=Path, required=True)
    data.add_argument("--out", type=Path, default=Path("runs/photos_data"))
    data.set_defaults(run_step=build)
    training = commands.add_parser("train")
    packing = commands.add_parser("package")
    scoring = commands.add_parser("evaluate")
    for command in (training, packing, scoring):
        command.add_argument("--data", type=Path, default=Path("runs/photos_data"))
        command.add_argument("--threads", type=int, default=2)
    training.add_argument("--out", type=Path, default=Path("runs/photos"))
    training.set_defaults(run_step=train)
    packing.add_argument("--run", type=Path, default=Path("runs/photos"))
    packing.add_argument("--out", type=Path, default=Path("weights/photos"))
    packing.set_defaults(run_step=pack)
    scoring.add_argument("weights", type=Path)
    for name in ("prior", "vectors"):
        scoring.add_argument(f"--{name}", type=Path, required=True)
    scoring.add_argument("--with-photos", action="store_true", help="not to be published")
    scoring.add_argument("--record", action="store_true", help="in the weights' description")
    scoring.add_argument("--out", type=Path, default=Path("runs/photos_figures"))
    scoring.set_defaults(run_step=evaluate)
    return parser


if __name__ == "__main__":
    parsed = _parser().parse_args()
    sys.exit(parsed.run_step(parsed))
