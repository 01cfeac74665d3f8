"""The rounds of the loop side by side, and whether another one pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GAIN = 0.02  # a round that changes less than this says that the loop has settled
ONE_SHELL = 0.03  # relative change of resolution that is less than a shell of usual boxes


@dataclass(frozen=True)
class FeedbackRound:
    """One round: picks, and what became of them. A value that is not known is None.

    Attributes
    ----------
    round : int
        From 1.
    picks_of, particles_of : str
        Picking job and job downstream.
    picks : int
    particles : int
        Picks that were extracted and classified or refined.
    good_particles : int
        Those in good classes.
    classes, good_classes : int or None
    resolution : float or None
        Å, of the best large class or of the refinement.
    e_od : float or None
        Efficiency of the orientation distribution.
    views : int or None
        Directions that have particles.
    threshold : float or None
        Score recommended.
    """

    round: int
    picks_of: str
    particles_of: str
    picks: int
    particles: int
    good_particles: int
    classes: int | None = None
    good_classes: int | None = None
    resolution: float | None = None
    e_od: float | None = None
    views: int | None = None
    threshold: float | None = None

    @property
    def share(self) -> float:
        """Share of the particles that is good."""
        return self.good_particles / self.particles if self.particles else 0.0


def another_pays(rounds: Sequence[FeedbackRound]) -> tuple[bool, str]:
    """Whether another round is expected to pay, and why, by what the last one brought.

    It pays while good particles, their share or the resolution improved by more than measurement scatters: 2 % more
    good particles, 0.02 more of the share, 3 % finer. After a single round nothing can be compared.
    """
    if len(rounds) < 2:
        return True, "this is the first round: nothing to compare with"
    before, last = rounds[-2:]
    gains = []
    if before.good_particles and last.good_particles > (1 + GAIN) * before.good_particles:
        gains.append(f"good particles {before.good_particles} -> {last.good_particles}")
    if last.share > before.share + GAIN:
        gains.append(f"share of good particles {before.share:.2f} -> {last.share:.2f}")
    if before.resolution and last.resolution and last.resolution < (1 - ONE_SHELL) * before.resolution:
        gains.append(f"resolution {before.resolution:.2f} -> {last.resolution:.2f} Å")
    lost = before.good_particles and last.good_particles < (1 - 5 * GAIN) * before.good_particles
    if gains and not lost:
        return True, "the last round brought " + ", ".join(gains)
    if lost:
        return False, (
            f"the last round lost good particles, {before.good_particles} -> {last.good_particles}: use the picks of "
            "the round before, or a lower threshold"
        )
    return False, (
        f"the last round changed little: good particles {before.good_particles} -> {last.good_particles}, their share "
        f"{before.share:.2f} -> {last.share:.2f}"
    )
