"""The commands `data …`."""
