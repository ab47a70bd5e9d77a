"""An autoencoder whose latent code is a scene graph: photo to graph to photo.

    import autoenc_sg

    model = autoenc_sg.AutoEncoder.from_checkpoint("runs/demo")
    graph = model.parse("photo.jpg")
    picture = model.render(graph)

The names below are imported when they are first used, so that `import autoenc_sg` takes no time.
See docs/python.md.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

_root = Path(__file__).parent.parent
if (_root / "setup.py").is_file():  # a checkout: the sub-packages lie beside this folder
    __path__.append(str(_root))

__version__ = "0.1.0"

if TYPE_CHECKING:
    from autoenc_sg.config.files import load_config
    from autoenc_sg.core.errors import InputError
    from autoenc_sg.core.graph_json import read_graphs, write_graphs
    from autoenc_sg.core.images import read_image
    from autoenc_sg.core.scene_graph import SceneGraph
    from autoenc_sg.core.vocabulary import Vocabulary
    from autoenc_sg.data.base.from_pairs import PairsDataset
    from autoenc_sg.data.open import open_dataset
    from autoenc_sg.model.autoencoder import AutoEncoder
    from autoenc_sg.pipelines.evaluate import evaluate
    from autoenc_sg.training.loop import train

_MODULES = {
    "AutoEncoder": "model.autoencoder",
    "InputError": "core.errors",
    "PairsDataset": "data.base.from_pairs",
    "SceneGraph": "core.scene_graph",
    "Vocabulary": "core.vocabulary",
    "evaluate": "pipelines.evaluate",
    "load_config": "config.files",
    "open_dataset": "data.open",
    "read_graphs": "core.graph_json",
    "read_image": "core.images",
    "train": "training.loop",
    "write_graphs": "core.graph_json",
}

__all__ = [
    "AutoEncoder",
    "InputError",
    "PairsDataset",
    "SceneGraph",
    "Vocabulary",
    "__version__",
    "evaluate",
    "load_config",
    "open_dataset",
    "read_graphs",
    "read_image",
    "train",
    "write_graphs",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'autoenc_sg' has no attribute {name!r}")
    value = getattr(import_module(f"autoenc_sg.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
