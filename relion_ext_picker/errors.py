"""The exceptions of the package, one tree.

* PickerError

  * InputError - a file or a value the user gave is wrong; the message names it and the remedy

    * StarError - a STAR file cannot be understood
    * WeightsError - a model file cannot be used

  * UsageError - the command line is wrong
  * JobAborted - RELION (or a person) asked the job to stop
"""

from __future__ import annotations


class PickerError(Exception):
    """Base of all errors raised on purpose."""


class InputError(PickerError):
    """A file or value given by the user is wrong. The message names it and says what to do."""


class StarError(InputError):
    """A STAR file lacks a table, a column or a value that is needed."""


class WeightsError(InputError):
    """A model file is damaged, of another mode, or not a model file at all."""


class UsageError(PickerError):
    """The command line cannot be understood."""


class JobAborted(PickerError):
    """The abort marker of RELION was found in the job directory."""
