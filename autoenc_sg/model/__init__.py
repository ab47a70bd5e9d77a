"""The autoencoder."""

from autoenc_sg.model.autoencoder import AutoEncoder

__all__ = ["AutoEncoder"]
