"""Predictors (relation heads): from regions and candidate pairs to graph logits."""
