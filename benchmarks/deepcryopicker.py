"""What the DeepCryoPicker mode finds without labels, in real and in simulated micrographs, and what it costs.

    python benchmarks/deepcryopicker.py

Every figure comes from the command that users run. Nothing is trained beforehand: a job clusters, grades, trains and
picks the micrographs that it is then scored on; the true centres are used for scoring alone. A pick counts within 0.4
diameters of a centre that no better pick has taken. Jobs that are in the working folder already are not run again, but
their cost is that of their first run. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import mrcfile
import numpy as np
from deepcryopicker_rivals import table
from deepcryopicker_scores import KINDS, Truth, by_class, known_truth, picks_of, real_truth
from measure import Cost, run
from programs import TOPAZ_DEFAULT, our_program, shared_data, thread_limits
from tables import Value, markdown

from relion_ext_picker.evaluation.curves import score_picks
from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.relion.star import read_micrographs
from relion_ext_picker.relion.tables import read_tables

SIMULATED = ("--contaminants", "0", "--seed")
SETS = {  # name: options of simulate, seed last
    "klh": ("--preset", "klh", "--snr", "0.05", "--orientations", "both", "--particles", "24", "--micrographs", "12",
            *SIMULATED, "1"),
    "klh-new": ("--preset", "klh", "--snr", "0.05", "--orientations", "both", "--particles", "24", "--micrographs", "6",
                *SIMULATED, "2"),
    "ribosome": ("--preset", "ribosome-snr0.05", "--micrographs", "8", *SIMULATED, "3"),
    "ribosome-2.2": ("--preset", "ribosome-snr0.05", "--pixel-size", "2.2", "--micrographs", "6", *SIMULATED, "4"),
    "carbon": ("--preset", "apoferritin", "--size", "2048x2048", "--particles", "200", "--micrographs", "6",
               "--contaminants", "1.5", "--contaminant-kinds", "carbon,hole,crystal", "--seed", "5"),
    "large": ("--preset", "bgal", "--micrographs", "2", *SIMULATED, "6"),
}  # fmt: skip
RIBOSOME = "models/4v4r_5A.mrc"  # of the shared data; without it the built-in ribosome
SIZES = {"klh": 400.0, "ribosome": 280.0, "mixture": 400.0, "carbon": 120.0, "large": 180.0}  # Å, where it is given
SAID = ("particle diameter", "clustering found", "round 2:", "trained in", "published network")


@dataclass(frozen=True)
class Bench:
    """What all measurements share."""

    program: Path
    work: Path
    data: Path
    threads: int
    topaz: Path = TOPAZ_DEFAULT

    def simulated(self, name: str) -> Path:
        """A simulated project, made once."""
        folder = self.work / "simulated" / name
        if not (folder / "simulation.star").exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            model = self.data.parent / RIBOSOME
            more = ("--structure", str(model)) if name.startswith("ribosome") and model.exists() else ()
            self._run([self.program, "simulate", "--o", folder, *SETS[name], *more, "--j", str(self.threads)], name)
        return folder

    def job(self, name: str, project: Path, star: str, *more: str) -> Path:
        """A picking job; run once."""
        job = self.work / "jobs" / name
        if not (job / "cost.json").exists():
            job.mkdir(parents=True, exist_ok=True)
            words = [self.program, "pick", "--mode", "deepcryopicker", "--o", job, "--in_mics", star, "--gpu", "cpu",
                     "--j", str(self.threads), *more]  # fmt: skip
            cost = self._run(words, f"jobs/{name}/run", project)
            (job / "cost.json").write_text(json.dumps(asdict(cost)), encoding="utf-8")
        return job

    def cost(self, job: Path) -> Cost:
        """What a job took when it was run."""
        return Cost(**json.loads((job / "cost.json").read_text(encoding="utf-8")))

    def _run(self, words: Sequence[str | Path], log: str, folder: Path | None = None) -> Cost:
        return run(words, folder or self.work, self.work / f"{log}.out", thread_limits(self.threads))


def main(argv: Sequence[str] | None = None) -> int:
    """Pick, score and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="", metavar="DIR", help="folder of the apoferritin set")
    parser.add_argument("--picker", default="", metavar="FILE", help="relion_ext_picker to measure")
    parser.add_argument("--topaz-venv", type=Path, default=TOPAZ_DEFAULT, metavar="DIR")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="trainings on apoferritin and KLH (default: 1)"
    )
    parser.add_argument("--only", default=",".join(PARTS), metavar="LIST", help="of %(default)s")
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parents[1] / "build" / "deepcryopicker")
    options = parser.parse_args(argv)
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(our_program(options.picker), work, shared_data(options.data), options.threads, options.topaz_venv)
    for part in options.only.split(","):
        print(f"### {part}\n\n{PARTS[part](bench, options.seeds)}", flush=True)
    return 0


HEADER = ["micrographs", "stage", "diameter, Å", "picks", "P", "R", "F1", "AP", "F1 16 px", "CPU s", "wall s"]


def apoferritin(bench: Bench, seeds: int) -> str:
    """Ten real micrographs, whole exposures and single frames."""
    rows: list[list[Value]] = []
    for star, count in (("micrographs.star", seeds), ("single_frames.star", 1)):
        truth = real_truth(bench.data, star)
        runs = [("clustering", ("--preset", "clustering", "--diameter", "120"))]
        runs += [(f"network, seed {seed}", ("--diameter", "120", "--seed", str(seed))) for seed in range(count)]
        runs += [("network, no --diameter", ())] if star == "micrographs.star" else []
        rows += [_row(bench, f"{Path(star).stem}", stage, (bench.data, star), more, truth) for stage, more in runs]
    return markdown(HEADER, rows, (0, 0, 0, 0, 3, 3, 3, 3, 3, 0, 0))


def rivals(bench: Bench, _: int) -> str:
    """Topaz and RELION's own picker on the ten real micrographs."""
    stars = {"Micrographs": "micrographs.star", "SingleFrames": "single_frames.star"}
    truths = {folder: real_truth(bench.data, star) for folder, star in stars.items()}
    return table(bench.work, bench.threads, bench.topaz, bench.data, truths)


def simulated(bench: Bench, seeds: int) -> str:
    """Top and side views, irregular particles and a mixture: together and by class."""
    rows: list[list[Value]] = []
    classes: list[list[Value]] = []
    for name in ("klh", "ribosome", "mixture"):
        project = _mixture(bench) if name == "mixture" else bench.simulated(name)
        truth = known_truth(project, SIZES[name])
        size = f"{SIZES[name]:g}"
        stages = {"clustering": ("--preset", "clustering", "--diameter", size)}
        stages["network"] = ("--diameter", size) if name == "mixture" else ()
        if name == "klh":
            stages |= {f"network, seed {seed}": ("--seed", str(seed)) for seed in range(1, seeds)}
        for stage, more in stages.items():
            rows.append(_row(bench, name, stage, (project, "micrographs_ctf.star"), more, truth))
            classes += by_class(bench.work / "jobs" / _title(name, stage), name, stage, truth)
    told = markdown(HEADER, rows, (0, 0, 0, 0, 3, 3, 3, 3, 3, 0, 0))
    header = ["micrographs", "stage", "particles", "class", "number", "P", "R", "F1", "as another class"]
    tables = [told, markdown(header, classes, (0, 0, 0, 0, 0, 3, 3, 3, 0))]
    jobs = ["klh_network"] + [f"klh_network_seed_{seed}" for seed in range(1, seeds)]
    return "\n".join(tables + [_patches(bench, job) for job in jobs])


def contaminants(bench: Bench, _: int) -> str:
    """Picks on carbon and ice crystals."""
    folder = bench.data.parent / "contaminated_ice"
    project = bench.simulated("carbon")
    bench.job("carbon", project, "micrographs_ctf.star", "--diameter", "120")
    truth = known_truth(project, 120.0)
    rows: list[list[Value]] = []
    model = str(bench.work / "jobs" / "carbon" / "model.safetensors")
    inside = false = total = 0
    for name, xy in picks_of(bench.work / "jobs" / "carbon", project).items():
        # Not read as a micrograph, which must not be all 0.
        mask = mrcfile.read(project / "Truth" / "Micrographs" / f"{Path(name).stem}_contaminants.mrc") > 0
        hit, _index = match(truth.xy[name], xy[0], xy[1], truth.radius)
        col, row = np.rint(xy[0]).astype(int).T
        inside, total = inside + int(mask[row, col].sum()), total + len(xy[0])
        false += int((mask[row, col] & ~hit).sum())
    rows.append(["simulated carbon and crystals", total, inside, false])
    star = bench.work / "contaminated_ice.star"
    if folder.exists():
        from relion_ext_picker.relion.star import write_micrographs
        from relion_ext_picker.types import Micrograph

        write_micrographs(star, [Micrograph("micrograph.mrc", 1.0)])
        mask = read_micrograph(folder / "contamination_mask.mrc") > 0.5
        for label, more in (
            ("one real micrograph, learned from itself", ()),
            ("the same, model of the above", ("--model", model)),
        ):
            title = label.split(",")[0].replace(" ", "_") + str(len(more))
            try:
                job = bench.job(title, folder, str(star), "--diameter", "40", *more)
            except SystemExit as refused:
                rows.append([f"{label}: {_why(refused)}", None, None, None])
                continue
            xy, _score = picks_of(job, folder, star)["micrograph.mrc"]
            col, row = np.rint(xy).astype(int).T
            rows.append([label, len(xy), int(mask[row, col].sum()), None])
    return markdown(["micrographs", "picks", "inside the contaminant", "of these on no particle"], rows, (0, 0, 0, 0))


def speed(bench: Bench, _: int) -> str:
    """A trained model on 4096 x 4096 px, and the published network beside its floor."""
    project = bench.simulated("large")
    trained = bench.job("large", project, "micrographs_ctf.star", "--diameter", "180", "--no-report")
    job = bench.job(
        "large-again", project, "micrographs_ctf.star", "--model", str(trained / "model.safetensors"), "--no-report"
    )
    (table,) = read_tables(job / "summary.star", ("rlnMicrographName",)).values()
    times = ", ".join(f"{float(value):.2f}" for value in table["pickerSeconds"])
    told = f"Trained model, 4096 x 4096 px, particle 102 px: {times} s per micrograph, {bench.threads} threads"
    return f"{told}\n\n{_paper(bench)}"


def _paper(bench: Bench) -> str:
    """Time of the published network on a part of a real micrograph, and its floor."""
    import time

    import torch

    from relion_ext_picker.pickers.deepcryopicker.paper import untrained_paper
    from relion_ext_picker.pickers.deepcryopicker.paper_network import MACS

    torch.set_num_threads(bench.threads)
    picker = untrained_paper(("top", "background"), torch.device("cpu"))
    image = np.random.default_rng(0).normal(size=(384, 384)).astype(np.float32)
    frame = picker.prepare(image, 1.5, 120.0)
    picker.probabilities(frame)
    begin = time.perf_counter()
    windows = int(np.prod(picker.probabilities(frame).shape[1:]))
    taken = (time.perf_counter() - begin) / windows
    rates = []
    for kind in (torch.float32, torch.bfloat16):
        left, right = (torch.randn(2048, 2048).to(kind) for _ in range(2))
        best = np.inf
        for _ in range(8):
            begin = time.perf_counter()
            torch.mm(left, right)
            best = min(best, time.perf_counter() - begin)
        rates.append(2 * 2048**3 / best)
    rows: list[list[Value]] = [
        [name, rate / 1e9, 1000 * 2 * MACS / rate, 1000 * taken, taken * rate / (2 * MACS)]
        for name, rate in zip(("float32", "bfloat16"), rates, strict=True)
    ]
    told = f"`paper`, {windows} windows, {'bfloat16' if picker._dtype == torch.bfloat16 else 'float32'}:\n\n"
    return told + markdown(
        ["products in", "GFLOP/s", "floor, ms per window", "ms", "times floor"], rows, (0, 0, 1, 1, 2)
    )


PARTS = {
    "apoferritin": apoferritin, "rivals": rivals, "simulated": simulated, "contaminants": contaminants, "speed": speed,
}  # fmt: skip


def _row(
    bench: Bench, name: str, stage: str, where: tuple[Path, str], more: Sequence[str], truth: Truth
) -> list[Value]:
    """Run a job, once at its own threshold and once more for all candidates, and score it."""
    project, star = where
    title = _title(name, stage)
    try:
        job = bench.job(title, project, star, *more)
    except SystemExit as refused:
        return [name, f"{stage}: {_why(refused)}", *[None] * (len(HEADER) - 2)]
    every = job
    size = _diameter(job, more)
    if "clustering" not in stage:
        model = str(job / "model.safetensors")
        every = bench.job(f"{title}-all", project, star, "--model", model, "--threshold", "0", "--no-report")
    picks, curve = picks_of(job, project, project / star), picks_of(every, project, project / star)
    at, all_of_them = score_picks(truth.xy, picks, truth.radius), score_picks(truth.xy, curve, truth.radius)
    near = score_picks(truth.xy, picks, truth.radius / 2)
    cost = bench.cost(job)
    return [name, stage, size, at.n_picks, at.precision, at.recall, at.f1, all_of_them.ap, near.f1, cost.cpu, cost.wall]


def _title(name: str, stage: str) -> str:
    """Folder of a job."""
    return f"{name} {stage}".replace(" ", "_").replace(",", "")


def _why(refused: SystemExit) -> str:
    """The message of a job that found too little to learn from; any other failure ends the benchmark."""
    message = str(refused).rpartition("ERROR: ")[2].partition(":")[0]
    if "too few particles" not in message:
        raise refused
    return message


def _diameter(job: Path, more: Sequence[str]) -> float:
    if "--diameter" in more:
        return float(more[list(more).index("--diameter") + 1])
    return float(json.loads((job / "candidates.jsonl").read_text(encoding="utf-8").partition("\n")[0])["diameter"])


def _patches(bench: Bench, job: str) -> str:
    """Accuracy of the classifier on windows of micrographs that the job has not seen, with their true classes."""
    import torch

    from relion_ext_picker.pickers.deepcryopicker.picker import DefaultDeepCryoPicker
    from relion_ext_picker.training.windows import far_places
    from relion_ext_picker.workflows.models import load_picker

    model = bench.work / "jobs" / job / "model.safetensors"
    picker = load_picker("deepcryopicker", "default", str(model), torch.device("cpu"))
    assert isinstance(picker, DefaultDeepCryoPicker)
    project = bench.simulated("klh-new")
    truth, size = known_truth(project, 400.0), float(picker.card.provenance["diameter"])
    rng = np.random.default_rng(0)
    names = picker.class_names
    judged = {"as the network says": False, "above the fence": True}
    told = {fenced: np.zeros((len(names), len(names)), int) for fenced in judged.values()}
    for item in read_micrographs(project / "micrographs_ctf.star"):
        frame = picker.prepare(read_micrograph(project / item.name), item.pixel_size, size)
        places = np.stack(frame.grid.from_original(truth.xy[item.name]), axis=1)
        side = np.array(frame.values.shape)
        whole = ((places > 16) & (places < side - 17)).all(axis=1)
        far = far_places(places - 16, (side[0] - 32, side[1] - 32), 0.8 * 32, 40, rng) + 16
        for index, name in enumerate(names):
            mine = far if name == "background" else places[whole & (truth.kind[item.name] == KINDS.index(name))]
            windows = picker.cut(frame, frame.grid.to_original(*mine.T))
            for fenced, counts in told.items():
                counts[index] += np.bincount(picker.judge(windows, fenced).argmax(1), minlength=len(names))
    rows: list[list[Value]] = []
    for text, fenced in judged.items():
        counts = told[fenced]
        rows += [[text, name, *counts[index].tolist(), 100 * counts[index, index] / max(1, counts[index].sum())]
                 for index, name in enumerate(names)]  # fmt: skip
        rows.append([text, "all", *counts.sum(0).tolist(), 100 * np.trace(counts) / counts.sum()])
    header = ["judged", "true class", *[f"judged {name}" for name in names], "right, %"]
    return f"{job}, windows of six other KLH micrographs, whole particles:\n\n" + markdown(
        header, rows, (0, 0, *[0] * len(names), 2)
    )


def _mixture(bench: Bench) -> Path:
    """Micrographs of cylinders and of ribosomes in one project."""
    from relion_ext_picker.relion.star import write_micrographs
    from relion_ext_picker.types import Micrograph

    folder = bench.work / "simulated" / "mixture"
    (folder / "Micrographs").mkdir(parents=True, exist_ok=True)
    names = []
    for source in (bench.simulated("klh"), bench.simulated("ribosome-2.2")):
        for file in sorted((source / "Micrographs").glob("*.mrc"))[:8]:
            names.append(f"Micrographs/{source.name}_{file.name}")
            link = folder / names[-1]
            link.unlink(missing_ok=True)
            link.symlink_to(file)
    write_micrographs(folder / "micrographs_ctf.star", [Micrograph(name, 2.2) for name in names])
    return folder


if __name__ == "__main__":
    sys.exit(main())
