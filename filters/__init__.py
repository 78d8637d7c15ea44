"""Stages over documents, one family a file, each citing its paper in its first lines."""
