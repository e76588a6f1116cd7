"""Classes and splits of a user's images: from the names of their folders, or from a file of labels."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from gan_cli.errors import UserError, one_line, printable

DATASET_JSON = "dataset.json"  # as StyleGAN's tools write it
SPLITS = {
    "train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test",
}  # fmt: skip  # names of folders, in any case


def unwrapped(paths: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The ``paths``, each the parts of a name, without the single folders that hold all of them."""
    paths = list(paths)
    while paths and len({path[0] for path in paths}) == 1 and all(len(path) > 1 for path in paths):
        paths = [path[1:] for path in paths]
    return paths


def split_of(paths: Sequence[tuple[str, ...]]) -> list[str | None]:
    """The split of each of the unwrapped ``paths``: train, validation or test; None for a file outside all splits.

    Folders named train, val, valid, validation or test, in any case, are splits. Without a folder named train, all
    files outside the other splits are for training. ``test`` is what is held out: a validation split alone is it.
    """
    found = [SPLITS.get(path[0].lower()) if len(path) > 1 else None for path in paths]
    named = set(found) - {None}
    if not named or named == {"train"}:
        return ["train" if split is None and not named else split for split in found]
    if "train" not in named:
        found = [split or "train" for split in found]
    if "train" not in found:
        return ["train"] * len(paths)  # nothing would be left to train on: then they are classes
    if "test" not in named:
        found = ["test" if split == "validation" else split for split in found]
    return found


def class_of(paths: Sequence[tuple[str, ...]]) -> list[str] | None:
    """The class of each of the unwrapped ``paths``, its top folder; None unless all have one and there are two."""
    names = [path[0] for path in paths if len(path) > 1]
    return names if len(names) == len(paths) and len(set(names)) > 1 else None


def read_labels(content: bytes, name: str) -> Mapping[str, str]:
    """Names of files and their labels, from a JSON file of StyleGAN's tools or a CSV file of two columns.

    Names are those below ``dataset.root``, with ``/``. UserError if ``content`` is neither.
    """
    try:
        text = content.decode("utf-8-sig")
        pairs: Any = json.loads(text)["labels"] if name.endswith(".json") else _rows(text)
        labels = {_plain(str(file)): str(label).strip() for file, label in pairs or []}
        return {file: label for file, label in labels.items() if label}
    except (ValueError, TypeError, KeyError, csv.Error, RecursionError) as error:
        raise UserError(
            f"{printable(name)} gives no labels ({one_line(error)}): it should be a CSV file with a line for each "
            'image, FILE,LABEL, or a JSON file {"labels": [["FILE", LABEL], …]}'
        ) from error


def _rows(text: str) -> list[list[str]]:
    """The rows of a CSV file; a line of headings names no image. ValueError if a row has no two columns."""
    rows = [row for row in csv.reader(io.StringIO(text), strict=True) if row]
    if wrong := next((row for row in rows if len(row) != 2), None):
        raise ValueError(f"a line has {len(wrong)} columns: {','.join(wrong)[:40]}")
    return rows


def _plain(name: str) -> str:
    return name.strip().replace("\\", "/").removeprefix("./")


def in_order(names: Sequence[str]) -> list[str]:
    """The distinct ``names`` in their order: as numbers if all are whole numbers."""
    distinct = set(names)
    return sorted(distinct, key=int) if all(name.isdecimal() for name in distinct) else sorted(distinct)
