"""COCO annotations with geometric predicates, object masks and stuff."""
