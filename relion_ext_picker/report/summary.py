"""One line per micrograph: what the report, summary.star and the progress display are made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from relion_ext_picker.errors import InputError
from relion_ext_picker.relion import labels
from relion_ext_picker.types import Ctf, Micrograph, Picks

Status = Literal["picked", "skipped", "failed"]
MAX_SCORE = "pickerMaxScore"
DEFOCUS = "pickerDefocus"  # Å, mean of both axes
SECONDS = "pickerSeconds"
STATUS = "pickerStatus"
MESSAGE = "pickerMessage"

STATUSES: tuple[str, ...] = get_args(Status)

_PLAIN_QUOTES = str.maketrans("'\"", "``")  # readers of STAR files stumble over quotes within quotes


@dataclass(frozen=True)
class MicrographSummary:
    """What became of one micrograph.

    Attributes
    ----------
    name : str
        Micrograph name as in the STAR file.
    picks : int
        Number of particles written.
    mean_score, max_score : float
        Over the picks; NaN where there are none.
    seconds : float
        Wall time spent on the micrograph; 0 where it was not worked on.
    status : {"picked", "skipped", "failed"}
        "skipped" is a micrograph that an earlier run of the same job had finished: its numbers are valid.
    message : str
        Why it failed, else empty.
    pixel_size : float
        Å/px, NaN where unknown.
    width, height : int
        px of the micrograph as stored, 0 where unknown.
    defocus : float
        Mean underfocus in Å, NaN where there is no CTF.
    """

    name: str
    picks: int = 0
    mean_score: float = math.nan
    max_score: float = math.nan
    seconds: float = 0.0
    status: Status = "picked"
    message: str = ""
    pixel_size: float = math.nan
    width: int = 0
    height: int = 0
    defocus: float = math.nan

    @classmethod
    def of_picks(cls, picks: Picks, seconds: float, status: Status = "picked") -> MicrographSummary:
        """Summary of a finished micrograph."""
        found = len(picks)
        return cls(
            name=picks.micrograph.name,
            picks=found,
            mean_score=float(picks.score.mean()) if found else math.nan,
            max_score=float(picks.score.max()) if found else math.nan,
            seconds=seconds,
            status=status,
            pixel_size=picks.micrograph.pixel_size,
            width=picks.shape[1],
            height=picks.shape[0],
            defocus=_mean_defocus(picks.micrograph.ctf),
        )

    @classmethod
    def of_failure(cls, micrograph: Micrograph, message: str, seconds: float = 0.0) -> MicrographSummary:
        """Summary of a micrograph that could not be picked; `message` says why."""
        return cls(
            name=micrograph.name,
            seconds=seconds,
            status="failed",
            message=one_line(message),
            pixel_size=micrograph.pixel_size,
            defocus=_mean_defocus(micrograph.ctf),
        )

    @property
    def failed(self) -> bool:
        """Whether the micrograph has no valid result."""
        return self.status == "failed"

    def to_json(self) -> dict[str, Any]:
        """The fields as values that JSON knows; NaN, which it does not know, is None."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in values.items()}  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MicrographSummary:
        """Undo :meth:`to_json`. Fields that later versions add take their defaults.

        Raises
        ------
        InputError
            A field is unknown or holds a value of the wrong kind.
        """
        kinds = {"name": str, "picks": int, "status": str, "message": str, "width": int, "height": int}
        unknown = sorted(set(data) - {item.name for item in fields(cls)})
        if unknown or "name" not in data:
            what = f"has the unknown field {unknown[0]!r}" if unknown else "has no field 'name'"
            raise InputError(f"A saved micrograph summary {what}; delete the saved summaries and run the job again")
        values: dict[str, Any] = {}
        for key, value in data.items():
            kind = kinds.get(key, float)
            if kind is float and value is None:
                value = math.nan
            elif kind is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            if type(value) is not kind or (key == "status" and value not in STATUSES):
                raise InputError(
                    f"The saved summary of micrograph {data['name']} has {key} = {value!r}; "
                    "delete the saved summaries and run the job again"
                )
            values[key] = value
        return cls(**values)


def summary_columns(summaries: Sequence[MicrographSummary]) -> dict[str, list[Any]]:
    """Columns of summary.star, one row per micrograph, in the order of `summaries`.

    The first three are those of RELION's own AutoPick. RELION labels are used where they exist. Scores of a micrograph
    without picks and an unknown pixel size are 0, an unknown defocus is NaN, an empty message is "None", RELION's word
    for an empty text.
    """
    return {
        labels.MICROGRAPH_NAME: [item.name for item in summaries],
        labels.GROUP_NR_PARTICLES: [item.picks for item in summaries],
        labels.FIGURE_OF_MERIT: [_or_zero(item.mean_score) for item in summaries],
        MAX_SCORE: [_or_zero(item.max_score) for item in summaries],
        labels.MICROGRAPH_PIXEL_SIZE: [_or_zero(item.pixel_size) for item in summaries],
        labels.IMAGE_SIZE_X: [item.width for item in summaries],
        labels.IMAGE_SIZE_Y: [item.height for item in summaries],
        DEFOCUS: [item.defocus for item in summaries],
        SECONDS: [item.seconds for item in summaries],
        STATUS: [str(item.status) for item in summaries],
        MESSAGE: [item.message.translate(_PLAIN_QUOTES) or "None" for item in summaries],
    }


def one_line(text: str) -> str:
    """Text without line breaks, tabs or runs of blanks, as run.out and a STAR cell need it."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _mean_defocus(ctf: Ctf | None) -> float:
    return math.nan if ctf is None else 0.5 * (ctf.defocus_u + ctf.defocus_v)
