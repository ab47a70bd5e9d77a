"""Relation heads: what they cost, and what they reach on real graphs."""
