"""An autoencoder whose latent code is a scene graph: photo to graph to photo."""

from pathlib import Path

_root = Path(__file__).parent.parent
if (_root / "setup.py").is_file():  # a checkout: the sub-packages lie beside this folder
    __path__.append(str(_root))

__version__ = "0.1.0"
