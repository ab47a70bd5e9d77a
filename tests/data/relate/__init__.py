"""Tests of relations proposed for boxes."""
