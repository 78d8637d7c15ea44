"""The engine and the corpora: readers, stages, makers, executors, recipes, and the `eyas` command."""
