"""What a run folder tells of its run: plain data, bounded, whatever the folder holds. No file's words are run."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_cli import __version__, typed
from gan_cli.diagnostics import remedies
from gan_cli.diagnostics.doctor import Doctor, examined, verdict
from gan_cli.metrics.catalogue import FIRST_SCORES, SCORES
from gan_cli.reports.curves import charts
from gan_cli.rundir import layout, status
from gan_cli.rundir.records import read_some
from gan_cli.untrusted.safetensors_header import read_header, strict_json

LONGEST = 2_000_000  # bytes of a JSON file that is read
VALUES = 20_000  # values in it
# The entries of eval.json that a page shows.
EVALUATED: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("value", "error", "real_data", "step", "n_fake"), (int, float)),
    **dict.fromkeys(("extractor", "split", "weights"), str),
}
HIGHER_IS_BETTER = {"precision", "recall", "classes_hit", "modes", "high_quality", "psnr", "ssim",
                    "target_accuracy", "source_accuracy"}  # fmt: skip
OF_DATA = {"image_shape", "examples", "class_names", "fingerprint", "source_channels", "run_dir", "resume", "trust",
           "init_digest", "init_step", "cluster"}  # fmt: skip


@dataclass(frozen=True)
class Examined:
    """A run under the doctor: the verdict in words, and each finding as plain data, those of now first."""

    doctor: Doctor
    verdict: str
    findings: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Saved:
    """The metadata of a checkpoint: the whole document, or an empty one."""

    document: Mapping[str, Any]

    def part(self, name: str, kind: type) -> Any:
        """The entry ``name`` if it is a ``kind``, else an empty one."""
        found = self.document.get(name)
        return found if isinstance(found, kind) else kind()


def saved(path: Path) -> Saved:
    """The metadata of the checkpoint at ``path``. No tensor is read."""
    with suppress(OSError, ValueError, KeyError):
        document = strict_json(read_header(path).metadata["gan_cli"], most=VALUES)
        return Saved(document if isinstance(document, dict) else {})
    return Saved({})


def read_json(path: Path) -> Any:
    """The JSON at ``path``, within bounds; None if there is none."""
    with suppress(OSError, ValueError, UnicodeDecodeError), path.open("rb") as file:
        return strict_json(file.read(LONGEST).decode(), most=VALUES)
    return None


def facts(run_dir: Path, default: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The facts of the run in ``run_dir``: those of ``report.json``. ``default`` is gan-train's own configuration."""
    rows, found = read_some(run_dir), status.read(run_dir)
    newest = next(iter(layout.of_run(run_dir)), run_dir / "none")
    last, best = saved(newest), saved(run_dir / "checkpoints" / layout.BEST)
    config = last.part("config", dict)
    step = max([0, *(row["step"] for row in rows[-1:]), last.part("step", int)])
    state = found.status if found else "unknown"
    if state == status.RUNNING and not layout.at_work(run_dir):
        state = "killed"
    images = rows[-1].get("images", 0) if rows else last.part("images", int)
    examples = config.get("examples") if isinstance(config.get("examples"), int) else None
    health = examined_run(run_dir, rows, config, found)
    return {
        "made_by": f"gan-cli {__version__}",
        "made": time.strftime("%Y-%m-%d %H:%M:%S"),
        "name": run_dir.absolute().name,
        "folder": typed.shown(run_dir),
        "status": state,
        "error": found.error if found else None,
        "verdict": health.verdict,
        "findings": health.findings,
        "step": step,
        "steps": config.get("steps"),
        "images": images,
        "epochs": images / examples if examples else None,
        "seconds": rows[-1].get("seconds", 0) if rows else last.part("seconds", float),
        "images_per_second": rows[-1].get("images_per_second") if rows else None,
        "scores": scores(rows, best.part("step", int)),
        "evaluated": evaluated(run_dir),
        "last": rows[-1] if rows else {},
        "commands": commands(run_dir, found, config, step),
        "machine": dict(found.machine) if found else {},
        "hashes": hashes(newest, last, config),
        "changed": changed(config, default or {}),
        "config": config,
        "charts": charts(rows),
    }


def examine(run_dir: Path) -> Examined:
    """The findings in the records of ``run_dir``."""
    newest = next(iter(layout.of_run(run_dir)), run_dir / "none")
    return examined_run(run_dir, read_some(run_dir), saved(newest).part("config", dict), status.read(run_dir))


def examined_run(
    run_dir: Path, rows: Sequence[Mapping[str, float]], config: Mapping[str, Any], found: status.Status | None
) -> Examined:
    """The findings in ``rows``, with the lines that they suggest."""
    doctor, words = examined(rows, config), words_of(found)
    order = [*doctor.now, *(one for one in doctor.history if one.until is not None)]
    findings = [
        {"name": one.name, "severity": one.severity, "title": one.title, "since": one.since, "until": one.until,
         "evidence": one.evidence, "why": one.why, "changes": remedies.changes(one.name, config),
         "line": remedies.line(one.name, config, words, typed.shown(run_dir))}
        for one in order
    ]  # fmt: skip
    return Examined(doctor, verdict(doctor), findings)


def words_of(found: status.Status | None) -> list[str]:
    """The words that a run began with. Older files have its overrides alone."""
    if found is None or found.words:
        return list(found.words) if found else []
    return [f"{key}={value}" if value else f"~{key}" for key, value in found.overrides.items()]


def scores(rows: Sequence[Mapping[str, float]], best_step: int) -> list[dict[str, Any]]:
    """Each score of the run: its last value, its best one, and at which step."""
    found = []
    for name in SCORES:
        points = [(row[name], row["step"]) for row in rows if name in row]
        if points:
            value, step = (max if name in HIGHER_IS_BETTER else min)(points, key=lambda point: point[0])
            kept = name in FIRST_SCORES and step == best_step
            found.append({"name": name, "last": points[-1][0], "last_step": points[-1][1], "best": value,
                          "best_step": step, "kept": kept, "evaluations": len(points)})  # fmt: skip
    return found


def evaluated(run_dir: Path) -> list[dict[str, Any]]:
    """The numbers of ``eval.json``: each with what real data get in the samples' place, and how it was measured."""
    table = read_json(run_dir / "eval.json")
    rows = table.items() if isinstance(table, dict) else ()
    found = [
        {"name": name, **{key: row[key] if isinstance(row.get(key), of) else None for key, of in EVALUATED.items()}}
        for name, row in rows if isinstance(row, dict)
    ]  # fmt: skip
    return [row for row in found if row["value"] is not None]


def commands(
    run_dir: Path, found: status.Status | None, config: Mapping[str, Any], step: int
) -> list[dict[str, str | None]]:
    """The lines to type: by which the run was begun, and to go on with it, to sample and to measure it."""
    place = typed.shown(run_dir)
    begun = typed.line("gan-train", words_of(found)) if found else None
    ckpt, more = typed.word("ckpt", place), f"steps={2 * step}"
    lines = {"begun by": begun, "to go on": typed.line("gan-train", [typed.word("resume", place), more])}
    if not classifies(config):
        name, *words = ("translate", "input=FOLDER") if "source_channels" in config else ("sample", "n=64")
        lines |= {f"to {name}": typed.line(f"gan-{name}", [ckpt, *words]), "to measure": typed.line("gan-eval", [ckpt])}
    return [{"what": what, "line": line} for what, line in lines.items() if line]


def classifies(config: Mapping[str, Any]) -> bool:
    """Whether the run's generator classifies images, and makes none: see ``config.networks.does``."""
    net = config.get("net")
    return isinstance(net, Mapping) and "features" in net


def hashes(path: Path, last: Saved, config: Mapping[str, Any]) -> list[dict[str, str]]:
    """Digests by which the run's data and its newest checkpoint are known."""
    found = {path.name: last.document.get("sha256"), "training data": config.get("fingerprint")}
    return [{"of": name, "sha256": value} for name, value in found.items() if isinstance(value, str)]


def changed(config: Mapping[str, Any], default: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The keys of ``config`` whose values are not those of plain ``gan-train``, with both values."""
    if not config or not default:
        return []
    now, plain = flat(config), flat(default)
    keys = [key for key in dict.fromkeys([*now, *plain]) if key.split(".")[0] not in OF_DATA]
    return [
        {"key": key, "value": shown(now, key), "default": shown(plain, key)}
        for key in keys if shown(now, key) != shown(plain, key) and not key.endswith("._partial_")
    ]  # fmt: skip


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"net": {"z_dim": 3}}`` -> ``{"net.z_dim": 3}``."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return found


def shown(values: Mapping[str, Any], key: str) -> str | None:
    """The value of ``key`` as JSON writes it; None if it has none."""
    if key not in values:
        return None
    value = values[key]
    return value if isinstance(value, str) else json.dumps(value, allow_nan=False, default=str)
