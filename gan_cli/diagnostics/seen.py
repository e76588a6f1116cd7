"""What the checks look at: the latest records of a run, its configuration and its scores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gan_cli.metrics.catalogue import FIRST_SCORES

WINDOW = 8  # records that a check looks at
LOOKS = 3  # of the samples, which are looked at less often

Row = Mapping[str, float]


@dataclass
class Seen:
    """The latest records of a run, what is known of it, and its scores so far: (step, value) of the first score."""

    config: Mapping[str, Any]
    rows: list[Row] = field(default_factory=list)
    looks: list[Row] = field(default_factory=list)  # the latest records with signals of the samples
    scores: list[tuple[int, float]] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Take in the next record, and forget those before the window."""
        self.rows = [*self.rows, row][-WINDOW:]
        if "sample_std" in row:
            self.looks = [*self.looks, row][-LOOKS:]
        if (score := next((row[name] for name in FIRST_SCORES if name in row), None)) is not None:
            self.scores.append((int(row["step"]), score))

    def mean(self, name: str) -> float | None:
        """The mean of ``name`` over the latest records; None if fewer than half of them have it."""
        values = [row[name] for row in self.rows if name in row]
        return sum(values) / len(values) if 2 * len(values) >= len(self.rows) > 0 else None

    def means(self, *names: str) -> list[float] | None:
        """The means of several numbers; None if one of them is missing."""
        found = [self.mean(name) for name in names]
        return None if None in found else found  # type: ignore[return-value]

    def option(self, path: str, default: Any = None) -> Any:
        """The entry of the configuration at ``path``: ``penalty.gamma``."""
        node: Any = self.config
        for key in path.split("."):
            node = node.get(key) if isinstance(node, Mapping) else None
        return default if node is None else node

    @property
    def loss(self) -> str:
        """The name of the loss function."""
        return str(self.option("loss._target_", "")).rpartition(".")[2]

    @property
    def probabilities(self) -> bool:
        """Whether D's outputs are probabilities: under other losses only differences of its outputs say something."""
        return self.loss in ("nonsaturating", "minimax")

    @property
    def unlike_the_data(self) -> bool:
        """Whether the last looks at the samples found them unlike the data, in diversity or in texture."""
        looks = self.looks[-2:]
        return len(looks) == 2 and len(self.rows) == WINDOW and all(map(_unlike, looks))

    @property
    def early(self) -> bool:
        """Whether there are too few records, or images, for a verdict that the run is well."""
        return len(self.rows) < WINDOW or (self.epochs is not None and self.epochs < 1)

    @property
    def epochs(self) -> float | None:
        """How often each example of the data was shown, on average."""
        images, examples = (self.rows[-1].get("images") if self.rows else None), self.option("examples")
        return images / examples if images and isinstance(examples, int) and examples > 0 else None


def _unlike(look: Row) -> bool:
    diverse = all(0.85 < look.get(name, 1.0) < 1.18 for name in ("sample_std", "sample_distance"))
    textured = look.get("sample_checkerboard", 1.0) < 4 and abs(look.get("sample_saturation", 0.0)) < 0.15
    return not (diverse and textured)
