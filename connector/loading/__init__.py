"""The config: read, merged, filled from outside, checked, shown and explained."""
