"""Dead letters read back, shown and sent again."""
