"""Building the VG150 files from raw JSON of Visual Genome's size: time and memory.

    python benchmarks/data/vg_build.py make FOLDER [--fraction 0.02]   # synthetic raw files, once
    python benchmarks/data/vg_build.py run FOLDER                      # build from them, and report
    python benchmarks/data/vg_build.py stream FOLDER                   # read them alone

The raw files have the true format (version 1.4) and Visual Genome's numbers: 108,077 images, 35
objects and 21 relationships an image, 76,000 object and 37,000 predicate names with Zipf's
frequencies, boxes drawn twice, names of two words, relationships between known objects.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import time
from pathlib import Path

import ijson
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.data.base.json_stream import stream_entries
from autoenc_sg.data.vg150.from_raw.build import BuildRules, build_vg150

IMAGES, OBJECTS, RELATIONSHIPS = 108_077, 3_802_000, 2_316_000
NAMES, PREDICATES = 76_000, 37_000


def main() -> None:
    """Make the raw files, or build from them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=("make", "run", "stream"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fraction", type=float, default=1.0, help="of Visual Genome's images")
    options = parser.parse_args()
    if options.command == "make":
        make(options.folder, options.fraction)
    elif options.command == "run":
        run(options.folder)
    else:
        stream(options.folder)


def make(folder: Path, fraction: float) -> None:
    """Write objects.json, relationships.json and image_data.json."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    count = round(IMAGES * fraction)
    sizes = np.stack([rng.integers(300, 801, count), rng.integers(300, 801, count)], 1)
    data = [
        {"width": w, "height": h, "image_id": i, "url": f"https://example.org/VG_100K_2/{i}.jpg",
         "coco_id": None, "flickr_id": 10_000_000 + i}
        for i, (w, h) in enumerate(sizes.tolist(), start=1)
    ]  # fmt: skip
    (folder / "image_data.json").write_text(json.dumps(data), encoding="utf-8")
    names, predicates = _words(rng, NAMES), _words(rng, PREDICATES)
    with (
        (folder / "objects.json").open("w", encoding="utf-8") as objects,
        (folder / "relationships.json").open("w", encoding="utf-8") as relationships,
    ):
        objects.write("[")
        relationships.write("[")
        next_id = 1
        for entry in data:
            comma = ", " if entry["image_id"] > 1 else ""
            found, related = _image(rng, entry, names, predicates, next_id)
            next_id += len(found) + len(related)
            image_id, url = entry["image_id"], entry["url"]
            text = json.dumps({"image_id": image_id, "objects": found, "image_url": url})
            objects.write(comma + text)
            text = json.dumps({"relationships": related, "image_id": image_id})
            relationships.write(comma + text)
        objects.write("]")
        relationships.write("]")


def _words(rng: np.random.Generator, count: int) -> list[str]:
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, 3 + i % 7)) for i in range(count)]
    return [w.upper() if i % 11 == 0 else f"{w} {words[i // 2]}" if i % 3 else w
            for i, w in enumerate(words)]  # fmt: skip


def _image(
    rng: np.random.Generator,
    entry: dict[str, int],
    names: list[str],
    predicates: list[str],
    next_id: int,
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """About 35 objects, of which a quarter repeats an earlier one nearly, and 21 relationships."""
    count = max(2, int(rng.gamma(4.0, OBJECTS / IMAGES / 4.0)))
    width, height = entry["width"], entry["height"]
    share = np.exp(rng.normal(-1.7, 0.9, (count, 2))).clip(0.01, 1)
    extent = (share * [width, height]).astype(int) + 1
    corner = (rng.random((count, 2)) * ([width, height] - extent).clip(0)).astype(int) + 1
    name = (rng.zipf(1.35, count) - 1) % len(names)
    for i in np.flatnonzero(rng.random(count) < 0.25):
        j = rng.integers(0, i + 1)
        extent[i], name[i] = extent[j], name[j]
        corner[i] = corner[j] + rng.integers(-2, 3, 2)
    table = np.concatenate([corner, extent], 1).tolist()
    objects: list[dict[str, object]] = [
        {"synsets": ["thing.n.01"], "h": h, "object_id": next_id + i, "merged_object_ids": [],
         "names": [names[k]], "w": w, "y": y, "x": x}
        for i, ((x, y, w, h), k) in enumerate(zip(table, name.tolist()))
    ]  # fmt: skip
    pairs = rng.integers(0, count, (rng.poisson(RELATIONSHIPS / IMAGES), 2)).tolist()
    kinds = (rng.zipf(1.5, len(pairs)) - 1) % len(predicates)
    relationships: list[dict[str, object]] = []
    for k, ((s, o), kind) in enumerate(zip(pairs, kinds.tolist())):
        subject, other = ({**objects[e], "name": names[name[e]]} for e in (s, o))
        del subject["names"], other["names"]
        relationships.append(
            {"predicate": predicates[kind], "object": other, "relationship_id": next_id + count + k,
             "synsets": ["along.r.01"], "subject": subject}
        )  # fmt: skip
    return objects, relationships


def run(folder: Path) -> None:
    """Build into `folder/vg150`; print counts, seconds and the peak of resident memory."""
    from rich.console import Console

    started = time.perf_counter()
    counts = build_vg150(folder, folder / "vg150", BuildRules())
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    size = sum((folder / n).stat().st_size for n in ("objects.json", "relationships.json")) / 1e6
    Console().print(counts.table().to_rich())
    print(f"{size:,.0f} MB of JSON, {seconds:.1f} s, peak {peak:.2f} GB, {platform.machine()}")


def stream(folder: Path) -> None:
    """Read both files entry by entry; print the rate and what the peak of memory grew by."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("objects.json", "relationships.json"):
        started = time.process_time()
        entries = sum(1 for _ in stream_entries(folder / name))
        seconds = time.process_time() - started
        size = (folder / name).stat().st_size / 1e6
        print(f"{name}: {entries:,} entries, {size:,.0f} MB, {size / seconds:.0f} MB/s")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"ijson's back end {ijson.backend}, peak of memory +{grown:.0f} MiB")


if __name__ == "__main__":
    main()
