"""A run that goes on in another folder, from a checkpoint file of the first run."""

import dataclasses
import shutil
from pathlib import Path

from gan_cli import files
from gan_cli.rundir import layout
from gan_cli.rundir.checkpoint import Checkpoint


def branched(parent: Checkpoint, run_dir: Path) -> Checkpoint:
    """``parent``, to go on with in ``run_dir``: records and grids up to its step are copied there, ``best`` is unset.

    The records after its step are dropped, and TensorBoard's events are made from the rest, when the run begins. A file
    outside a run folder has no records: the new run's records then begin at its step.
    """
    if parent.path.parent.name == "checkpoints":
        source = layout.run_folder(parent.path)
        grids = [path for path in layout.sample_grids(source) if int(path.stem) <= parent.progress.step]
        for path in [source / layout.METRICS, *grids]:
            if path.is_file() and not path.is_symlink():  # a link could lead out of a stranger's run folder
                copy = run_dir / path.relative_to(source)
                files.write_atomic(copy, path.read_bytes())
                shutil.copystat(path, copy)  # TensorBoard shows the time of a grid
    return dataclasses.replace(parent, progress=dataclasses.replace(parent.progress, best=None))
