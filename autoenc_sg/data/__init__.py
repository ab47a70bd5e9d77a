"""Annotated images by index, from every supported format."""
