"""Formats of a schema registry: where schemas come from, and values by them."""
