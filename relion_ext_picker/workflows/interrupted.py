"""A training that was interrupted goes on where it was."""

from __future__ import annotations

import logging
from dataclasses import asdict

from relion_ext_picker.options import TrainOptions
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.training.loop import Schedule, steps_done

STATE = "{}_network.state.safetensors"  # what there is of a training that has not ended
FRESH = 7919  # patches after an interruption are others than before it
ELSEWHERE = ("o", "j", "gpu", "pipeline_control", "relion_version")  # options that do not change what is learnt

_log = logging.getLogger(__name__)


def kept_schedule(job: JobDirectory, name: str, steps: int, rate: float) -> Schedule:
    """How long and how hard to train the `name` network, with a file in the job that training goes on from.

    Parameters
    ----------
    job : JobDirectory
    name : str
        "first", "second" or "only".
    steps : int
    rate : float
        Largest learning rate.
    """
    state = job.path / STATE.format(name)
    done = steps_done(state)
    if done:
        _log.info("%s network: goes on after step %d of an interrupted training", name, done)
    return Schedule(steps, rate, report=max(1, min(100, steps // 10)), state=state)


def fresh_seed(seed: int, schedule: Schedule) -> int:
    """A seed for what is drawn, another one after every interruption."""
    return seed + FRESH * steps_done(schedule.state)


def forget_other(job: JobDirectory, options: TrainOptions) -> None:
    """Remove what there is of a training with other settings."""
    job.settings_changed({k: v for k, v in asdict(options).items() if k not in ELSEWHERE}, (STATE.format("*"),))


def forget(job: JobDirectory) -> None:
    """Remove what interrupted trainings of the job have left."""
    for path in job.path.glob(STATE.format("*")):
        path.unlink()
