"""Set-level or many-row work that turns input artifacts into one: each maker is a frozen dataclass with `make`."""
