"""Topaz's pretrained models at several scales and radii in one process; run with the Python of Topaz's environment.

    python topaz_sweep.py OUT THREADS SCALE:RADIUS,RADIUS... [SCALE:...] -- MICROGRAPHS

Only Topaz's own commands do the work (preprocess, segment, extract): a map is made once per model and scale, and the
start of Python and torch is paid once. Writes OUT/MODEL-SCALE-RADIUS.txt, tables of Topaz, and OUT/cpu.json: what each
setting would have taken alone, seconds of processor time.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from types import ModuleType

MODELS = ("resnet16", "resnet8")
LEAST = "-12"  # log-likelihood ratio down to which candidates are written


def main() -> None:
    """Run the sweep."""
    cut = sys.argv.index("--")
    out, threads, settings, files = Path(sys.argv[1]), sys.argv[2], sys.argv[3:cut], sys.argv[cut + 1 :]
    preprocess, segment, extract = (importlib.import_module(f"topaz.commands.{name}") for name in (
        "preprocess", "segment", "extract"))  # fmt: skip
    start = time.process_time()
    seconds = {}
    for text in settings:
        scale, _, radii = text.partition(":")
        prepared = out / f"prepared-{scale}"
        preparing = _call(preprocess, "-s", scale, "-j", threads, "-o", str(prepared), *files)
        for model in MODELS:
            maps = out / f"maps-{scale}-{model}"
            images = [str(path) for path in sorted(prepared.glob("*.mrc"))]
            judging = _call(segment, "-m", f"{model}_u32", "-d", "-1", "-j", threads, "-o", str(maps), *images)
            scored = [str(path) for path in sorted(maps.iterdir())]
            for radius in radii.split(","):
                name = f"{model}-{scale}-{radius}"
                taken = _call(extract, "-m", "none", "-t", LEAST, "-r", radius, "-x", scale, "-d", "-1", "-j", threads,
                              "-o", str(out / f"{name}.txt"), *scored)  # fmt: skip
                seconds[name] = start + preparing + judging + taken
    (out / "cpu.json").write_text(json.dumps(seconds), encoding="utf-8")


def _call(command: ModuleType, *words: str) -> float:
    """Run a command of Topaz in this process; the processor time that it took."""
    begin = time.process_time()
    command.main(command.add_arguments().parse_args(list(words)))
    return time.process_time() - begin


if __name__ == "__main__":
    main()
