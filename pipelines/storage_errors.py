"""Errors of filesystems as errors of eyas: each names the path and the cure, and says whose fault it is."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from pipelines.errors import InputError, StorageError

CURES = {
    errno.ENOSPC: "the disk is full: free space there, or choose another --root; a rerun resumes",
    errno.EDQUOT: "the quota is used up: free space there, or choose another --root; a rerun resumes",
    errno.EROFS: "the filesystem is read-only: choose another --root",
    errno.EACCES: "permission denied: change the permissions, or choose another --root",
    errno.EPERM: "permission denied: change the permissions, or choose another --root",
    errno.ENOTDIR: "a part of this path is a file, not a folder: choose another --root",
    errno.EEXIST: "a part of this path is a file, not a folder: choose another --root",
    errno.ENAMETOOLONG: "the path is too long: choose a shorter --root or name",
    errno.EMFILE: "too many open files: raise `ulimit -n`",
}
OUTPUT_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


def cannot_write(uri: str, error: OSError) -> StorageError:
    """`error` as a StorageError that names the path and the cure."""
    what = os.strerror(error.errno) if error.errno else str(error)
    cure = CURES.get(error.errno or 0, "check that the place exists and that your credentials allow writing there")
    return StorageError(f"cannot write {uri} ({what}): {cure}")


def missing(uri: str, what: str) -> InputError:
    """An InputError for a path that is not what was asked for."""
    return InputError(f"{uri} {what}; check the spelling, or list it with `ls` or the store's own command")


@contextlib.contextmanager
def output_errors() -> Iterator[None]:
    """Mark errors that come from the output itself, apart from those of whatever the caller reads meanwhile."""
    try:
        yield
    except OSError as error:
        error.__eyas_output__ = True  # type: ignore[attr-defined]
        raise


@contextlib.contextmanager
def writing(uri: str) -> Iterator[None]:
    """Errors inside the block mean that `uri` cannot be written."""
    try:
        yield
    except OSError as error:
        raise cannot_write(uri, error) from error


@contextlib.contextmanager
def reading(uri: str) -> Iterator[None]:
    """Errors inside the block mean that `uri` cannot be read: InputError where it is not there, else StorageError."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise missing(uri, "does not exist") from error
    except PermissionError as error:
        raise StorageError(
            f"cannot read {uri} (permission denied): change its permissions or your credentials"
        ) from error
    except IsADirectoryError as error:
        raise missing(uri, "is a folder, not a file") from error
    except OSError as error:
        if error.errno is None and "is a directory" in str(error):
            raise missing(uri, "is a folder, not a file") from error
        raise StorageError(
            f"cannot read {uri} ({error}): check the place and your credentials; a rerun resumes"
        ) from error
