"""`python -m pipelines`: the `eyas` command without an install, as `ray job submit` runs it."""

from pipelines.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
