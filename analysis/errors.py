"""The errors a user can meet; the command line prints each as one line.

LnvError
├── FilesetError      a fileset, its datasets or their metadata
├── NtupleError       a file or tree that cannot be read or written
│   └── SchemaError   a column that is missing or of another type
├── CalibrationError  constants of the identification or of a range of runs
├── ResultsError      a saved result of another version, cut set or fileset
└── IncompleteError   a result that does not cover all its events
"""

from __future__ import annotations


class LnvError(Exception):
    """Base of every error that says what was got, what was wanted, where, and how to mend it."""


class FilesetError(LnvError):
    """A fileset, one of its datasets or its metadata is not usable."""


class NtupleError(LnvError):
    """A file or a tree cannot be read or written."""


class SchemaError(NtupleError):
    """A column is missing or has another type than the column table says."""


class CalibrationError(LnvError):
    """Constants are missing or damaged, or are those of other runs."""


class ResultsError(LnvError):
    """A saved result does not fit: another version, another cut set, another fileset."""


class IncompleteError(LnvError):
    """A result does not cover every event of its files."""
