"""First stage of a DeepCryoPicker job: the particle diameter, and what clustering finds in each micrograph.

Both are kept in the job as candidates.jsonl, a line as soon as a micrograph is done, so that a job that was stopped
goes on where it was.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from relion_ext_picker import __version__
from relion_ext_picker.atomic import atomic_path
from relion_ext_picker.errors import InputError, PickerError
from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.options import PickOptions
from relion_ext_picker.pickers.deepcryopicker.diameter import Estimate, search_diameter
from relion_ext_picker.pickers.deepcryopicker.find import Found, preferred_for_all, trials
from relion_ext_picker.pickers.deepcryopicker.settings import UnsupervisedSettings
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.types import Array, Grid, Micrograph

NAME = "candidates.jsonl"
LOOKED_AT = 3  # micrographs that the diameter is estimated from
DEPENDS_ON = (
    "contrast", "diameter", "clustering", "size_tolerance", "roundness_tolerance", "ratio_tolerance", "area_tolerance",
)  # fmt: skip
HINT = 5  # good particles of the other contrast from which it is worth a word

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidates:
    """What the unsupervised stage found.

    Attributes
    ----------
    diameter : float
        Of the particle, Å.
    found : dict of Found
        By micrograph name.
    """

    diameter: float
    found: dict[str, Found]

    def count(self, good: bool = True) -> int:
        """Particles that are good enough to learn from, or all."""
        return sum(int(each.good.sum()) if good else len(each) for each in self.found.values())


def settings_of(options: PickOptions) -> UnsupervisedSettings:
    """Settings of the unsupervised stage as the options have them."""
    use = UnsupervisedSettings()
    grade = replace(
        use.grade, circularity=options.roundness_tolerance, radius=options.size_tolerance,
        ratio=options.ratio_tolerance, area=options.area_tolerance,
    )  # fmt: skip
    cluster = replace(use.cluster, method=options.clustering)
    return replace(use, cluster=cluster, grade=grade, bright=options.contrast == "bright")


def chosen(micrographs: Sequence[Micrograph], most: int) -> list[Micrograph]:
    """At most so many micrographs, evenly spread; 0 is all."""
    count = min(most, len(micrographs)) if most else len(micrographs)
    if not count:
        return []
    places = np.unique(np.linspace(0, len(micrographs) - 1, count).round().astype(int))
    return [micrographs[place] for place in places]


def particle_diameter(job: JobDirectory, options: PickOptions, micrographs: Sequence[Micrograph]) -> float:
    """The diameter that was given, else the one that an earlier run found, else one that is found now; Å.

    Raises
    ------
    InputError
        Nothing looks like a particle, or no micrograph can be read.
    """
    if options.diameter > 0:
        return options.diameter
    head, _ = _read(job.path / NAME, _settings(options))
    if head is None:
        head = _estimated(job, options, micrographs)
        _start(job, {"settings": _settings(options), **head})
    return float(head["diameter"])


def find_candidates(job: JobDirectory, options: PickOptions, micrographs: Sequence[Micrograph]) -> Candidates:
    """Cluster the micrographs that the network is to learn from, but for those that are done.

    Parameters
    ----------
    job : JobDirectory
    options : PickOptions
    micrographs : sequence of Micrograph
        Of which at most `options.learn_from` are used.

    Raises
    ------
    InputError
        None of them can be read.
    JobAborted
        RELION asked for it.
    """
    diameter = particle_diameter(job, options, micrographs)
    head, done = _read(job.path / NAME, _settings(options))
    if head is None:
        _start(job, {"settings": _settings(options), "diameter": diameter})
    use, mine = settings_of(options), chosen(micrographs, options.learn_from)
    todo = [item for item in mine if item.name not in done]
    _log.info("clustering %d micrographs, particles of %.0f Å%s", len(mine), diameter,
              f"; {len(mine) - len(todo)} done earlier" if len(todo) < len(mine) else "")  # fmt: skip
    failures = []
    with (job.path / NAME).open("a", encoding="utf-8") as file:
        for item, outcome in zip(todo, _clustered(job, todo, use, diameter, options.j), strict=True):
            if isinstance(outcome, str):
                _log.warning("not learned from: %s", outcome)
                failures.append(outcome)
                continue
            done[item.name] = outcome
            file.write(json.dumps({"name": item.name, "found": [_plain(each) for each in outcome]}) + "\n")
            file.flush()
            best = preferred_for_all([outcome], use.cluster.favour)[0]
            _log.info("%s: %d particles, %d good ones (%s)", item.name, len(best), best.good.sum(), best.method)
    names = [item.name for item in mine if item.name in done]
    if not names:
        raise InputError(f"none of the {len(mine)} micrographs can be read; the first: {failures[0]}")
    found = preferred_for_all([done[name] for name in names], use.cluster.favour)
    return Candidates(diameter, dict(zip(names, found, strict=True)))


def kept_candidates(job: JobDirectory, options: PickOptions) -> dict[str, Found]:
    """What an earlier run, or this one, found in the micrographs of a job; by name."""
    favour = settings_of(options).cluster.favour
    done = _read(job.path / NAME, None)[1]
    return dict(zip(done, preferred_for_all(list(done.values()), favour), strict=True)) if done else {}


def other_contrast(options: PickOptions, micrographs: Sequence[Micrograph], diameter: float) -> str:
    """A hint for the case that the particles have the other contrast, empty where they have not."""
    use = settings_of(options)
    turned = replace(use, bright=not use.bright)
    for item in chosen(micrographs, 2):
        try:
            image = read_micrograph(Path(item.name))
        except PickerError:
            continue
        both = [preferred_for_all([trials(image, each, diameter / item.pixel_size)])[0].good.sum() for each in
                (use, turned)]  # fmt: skip
        if both[1] >= max(HINT, 2 * both[0]):
            other = "dark" if use.bright else "bright"
            return f"; with --contrast {other} {both[1]} good particles are found in {item.name} instead of {both[0]}"
    return ""


def _estimated(job: JobDirectory, options: PickOptions, micrographs: Sequence[Micrograph]) -> dict[str, float]:
    images = []
    size = micrographs[0].pixel_size
    for item in [each for each in micrographs if each.pixel_size == size]:
        job.check_abort()
        try:
            images.append(read_micrograph(Path(item.name)))
        except (PickerError, OSError) as error:
            _log.warning("not looked at: %s", error)
        if len(images) == LOOKED_AT:
            break
    if not images:
        raise InputError(f"none of the {len(micrographs)} micrographs can be read")
    _log.info("no --diameter: looking for particles of any size in %d micrographs", len(images))
    found: Estimate = search_diameter(images, settings_of(options))
    if not found.count:
        raise InputError(
            f"nothing in {len(images)} micrographs looks like particles of any size: give --diameter, and check that "
            f"there are particles and that --contrast {options.contrast} is right"
        )
    told = "" if found.sure else "; this is not sure: look at logfile.pdf, and give --diameter if it is wrong"
    if found.kind == "irregular":
        told += f"; thin parts of irregular particles do not show: up to {found.longest * size:.0f} Å are possible"
    _log.info(
        "particle diameter: %.0f Å (%.0f px), from %d particles, two thirds of them within ± %.0f Å%s",
        found.diameter * size, found.diameter, found.count, found.spread * size, told,
    )  # fmt: skip
    return {"diameter": found.diameter * size, "spread": found.spread * size, "count": float(found.count)}


def _clustered(
    job: JobDirectory, todo: Sequence[Micrograph], use: UnsupervisedSettings, diameter: float, threads: int
) -> Iterator[list[Found] | str]:
    """Both clusterings of each micrograph in order, or why it has none."""

    def one(item: Micrograph) -> list[Found] | str:
        try:
            return trials(read_micrograph(Path(item.name)), use, diameter / item.pixel_size)
        except (PickerError, OSError, MemoryError, ValueError) as error:
            return str(error) if item.name in str(error) else f"{item.name}: {error or 'out of memory'}"

    with ThreadPoolExecutor(max(1, threads), thread_name_prefix="cluster") as pool:
        waiting = [pool.submit(one, item) for item in todo]
        try:
            for future in waiting:
                job.check_abort()
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _settings(options: PickOptions) -> dict[str, Any]:
    return {**{name: getattr(options, name) for name in DEPENDS_ON}, "version": __version__}


def _start(job: JobDirectory, head: Mapping[str, Any]) -> None:
    with atomic_path(job.path_for(NAME)) as temporary:
        temporary.write_text(json.dumps(head) + "\n", encoding="utf-8")


def _read(path: Path, settings: Mapping[str, Any] | None) -> tuple[dict[str, Any] | None, dict[str, list[Found]]]:
    """First line and micrographs of an earlier run with the same settings (None: any).

    A last line that is not whole is left out.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        head = json.loads(lines[0])
        same = settings is None or head["settings"] == json.loads(json.dumps(dict(settings)))
        if not same or not head["diameter"] > 0:
            return None, {}
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None, {}
    done = {}
    for line in lines[1:]:
        try:
            entry = json.loads(line)
            done[str(entry["name"])] = [_found(each) for each in entry["found"]]
        except (ValueError, KeyError, TypeError):
            continue
    return head, done


def _plain(found: Found) -> dict[str, Any]:
    """Without the mask, which can be made again."""
    return {
        "method": found.method, "consistency": round(found.consistency, 4), "kind": found.kind.tolist(),
        "good": found.good.tolist(), "xy": np.round(found.xy, 2).astype(float).tolist(),
        "radius": np.round(found.radius, 2).tolist(), "quality": np.round(found.quality, 4).tolist(),
        "contrast": np.round(found.contrast, 3).tolist(),
    }  # fmt: skip


def _found(entry: Mapping[str, Any]) -> Found:
    numbers = {name: np.array(entry[name], np.float64) for name in ("radius", "quality", "contrast")}
    xy: Array = np.array(entry["xy"], np.float32).reshape(-1, 2)
    if any(len(each) != len(xy) for each in (*numbers.values(), entry["kind"], entry["good"])):
        raise ValueError("the numbers of places and measures differ")
    return Found(
        xy=xy, kind=np.array(entry["kind"], dtype="<U9"), good=np.array(entry["good"], bool),
        method=str(entry["method"]), consistency=float(entry["consistency"]), mask=np.zeros((0, 0), bool), grid=Grid(),
        **numbers,
    )  # fmt: skip
