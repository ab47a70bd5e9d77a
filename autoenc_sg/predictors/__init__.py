"""Relation heads: from regions and pairs to graph logits."""
