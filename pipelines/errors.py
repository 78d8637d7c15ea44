"""Every error eyas raises on purpose. Each message names the value, the place and the cure.

```
EyasError
├── UserError            bad input or configuration: exit 2, never retried
│   ├── ConfigError      a recipe, flag, TOML file or stage field that cannot be used
│   ├── InputError       a path, listing, column or id in the data that cannot be used
│   └── GuardStopped     near dedup would do what nobody may want; says how to go on, and finished passes stay
└── BuildError           the work itself failed: exit 1, finished shards stay
    ├── ShardsFailed     shards that failed three times; names them and the command that resumes
    ├── QuarantineCap    too large a share of a shard's records could not be read
    ├── SignalError      a filter measured null or NaN
    ├── StageError       a stage broke its contract (rows lost, reordered, columns missing)
    ├── ConservationError  documents unaccounted for: a bug in eyas
    └── StorageError     the root cannot be written or read
```
"""

from __future__ import annotations


class EyasError(Exception):
    """Base of every deliberate error; `exit_code` is what the command returns."""

    exit_code = 1


class UserError(EyasError):
    """The caller can mend it: bad input, bad configuration."""

    exit_code = 2


class ConfigError(UserError):
    """A recipe, flag, TOML file or stage field that cannot be used."""


class InputError(UserError):
    """A path, listing, column or id in the data that cannot be used."""


class GuardStopped(UserError):
    """Near dedup found a cluster, or would drop a share, beyond what its guard allows; the same command resumes."""


class BuildError(EyasError):
    """The work failed; every finished shard stays and a rerun resumes."""


class ShardsFailed(BuildError):
    """Shards that failed on every attempt."""


class QuarantineCap(BuildError):
    """More than the allowed share of a shard's records could not be read."""


class SignalError(BuildError):
    """A filter measured null or NaN, on which no rule can be decided."""


class StageError(BuildError):
    """A stage broke its contract."""


class ConservationError(BuildError):
    """Documents are unaccounted for."""


class StorageError(BuildError):
    """The root cannot be written or read."""
