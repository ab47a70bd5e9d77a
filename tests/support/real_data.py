"""Where real data lie that are not in the repository, and marks for tests that want them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"
DATA = Path(os.environ.get("AUTOENC_SG_DATA", _BESIDE))
PHOTOS, ANNOTATIONS = DATA / "coco_photos", DATA / "vg_annotations"
FREE_PHOTOS = DATA / "coco_val2017_free"


def _mark(folder: Path) -> pytest.MarkDecorator:
    reason = f"no {folder.name} in $AUTOENC_SG_DATA or in shared/data beside the checkout"
    return pytest.mark.skipif(not folder.is_dir(), reason=reason)


needs_photos, needs_annotations = _mark(PHOTOS), _mark(ANNOTATIONS)
needs_free_photos = _mark(FREE_PHOTOS)
