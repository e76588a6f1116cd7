"""A saved run: its checkpoint, and the parts that the checkpoint describes. Parts are checked before they are built.

Every command opens checkpoints through this module.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from gan_cli import directions
from gan_cli.config import networks
from gan_cli.config.data import held_out, image_shape, training_data, validation
from gan_cli.config.translation import network_facts, reversed_facts
from gan_cli.config.trust import check_trusted, shipped_targets
from gan_cli.data import Dataset, Points
from gan_cli.data.pairs import Domains
from gan_cli.directions import Directions
from gan_cli.errors import UserError
from gan_cli.latents import Mapped
from gan_cli.noise import Noise
from gan_cli.rundir import checkpoint, layout
from gan_cli.rundir import directions as rundir_directions
from gan_cli.rundir.checkpoint import Checkpoint
from gan_cli.training.state import load_module

MODULE = {"ema": "ema", "raw": "generator"}  # a command's weights: their name in a checkpoint


class Splits(NamedTuple):
    """The training data of a run, and the held-out data if there are any."""

    train: Dataset
    validation: Dataset | None
    test: Dataset | None


@dataclass(frozen=True)
class SavedRun:
    """The run that a checkpoint describes. Code outside gan-cli is refused, unless its package is in ``trust``.

    Each group is checked at its first use.
    """

    checkpoint: Checkpoint
    trust: Sequence[str] = ()

    @property
    def path(self) -> Path:
        """The checkpoint's file."""
        return self.checkpoint.path

    def group(self, name: str) -> Mapping[str, Any]:
        """The configuration of a group, trusted. UserError if the checkpoint lacks the group."""
        node = self.checkpoint.config.get(name)
        if not isinstance(node, Mapping):
            what = {"net": "describe a generator", "dataset": "say what it was trained on"}.get(name, f"say its {name}")
            raise UserError(f"{self.path} doesn't {what}; give a checkpoint of gan-train")
        check_trusted(node, self.path, self.trust, name)
        return node

    @cached_property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of images, or (d,) of points. UserError for any other shape."""
        return image_shape(self.checkpoint.config.get("image_shape"), self.path)

    @property
    def noise(self) -> Noise:
        """The noise of the run's generator."""
        return networks.noise(self.group("net"))

    @cached_property
    def class_names(self) -> list[str]:
        """The class names of a conditional run; empty for an unconditional one. UserError if the names are invalid."""
        names = self.checkpoint.config.get("class_names", [])  # older files lack the key: they are unconditional
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{self.path} should have its classes' names in a list, and has {str(names)[:80]}")
        shape = self.checkpoint.config.get("image_shape")
        if names and isinstance(shape, list) and len(shape) == 1:
            raise UserError(f"{self.path} has classes of points, which gan-cli never writes; it is not to be trusted")
        return names

    @property
    def facts(self) -> dict[str, Any]:
        """The facts about the data that the generator was built for."""
        facts: dict[str, Any] = {"image_shape": self.image_shape, "classes": len(self.class_names)}
        if self.two_domains:
            facts["source_channels"] = self.source_channels
        return facts

    @property
    def two_domains(self) -> bool:
        """Whether the run's generator is given images, and no noise."""
        return "source_channels" in self.checkpoint.config

    @property
    def translates(self) -> bool:
        """Whether the run's generator translates images. UserError if it classifies them, and makes none."""
        if self.two_domains and networks.does(self.group("net")) == "classifies":
            raise UserError(f"{self.path} classifies images and makes none; its accuracies are in metrics.jsonl")
        return self.two_domains

    @property
    def source_channels(self) -> int:
        """The channels of the images that the generator is given. UserError unless they are 1, 3 or 4."""
        channels = self.checkpoint.config["source_channels"]
        return image_shape([channels, *self.image_shape[1:]], self.path)[0]

    def generator(self, weights: str = "ema", backward: bool = False) -> nn.Module:
        """The generator, averaged (``ema``) or as last trained (``raw``), in eval mode, on the CPU.

        With ``backward`` it is the one from targets to sources, of a run that has one.
        """
        name, net, facts = MODULE[weights], self.checkpoint.config.get("net"), self.facts
        if backward:
            name, facts = f"backward_{name}", reversed_facts(facts)
            if not self.checkpoint.shapes_of(name):
                raise UserError(f"{self.path} translates in one direction alone: leave backward out")
        if isinstance(net, Mapping) and "z_dim" in net and "generator" not in net:
            raise UserError(
                f"{self.path} names no network: its generator was given as an object. From Python, "
                "gan_cli.load_generator(…, into=NETWORK) fills one of the same shapes"
            )
        try:
            built = networks.generator(self.group("net"), facts, self.checkpoint.shapes_of(name))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{self.path} doesn't describe a generator ({error}); give a checkpoint of gan-train"
            ) from error
        load_module(self.checkpoint, name, built)
        return built.eval()

    def discriminator(self) -> nn.Module:
        """The discriminator, on the CPU."""
        built = networks.discriminator(self.group("net"), self.facts, self.checkpoint.shapes_of("discriminator"))
        load_module(self.checkpoint, "discriminator", built)
        return built

    def directions(self, weights: str = "ema") -> Directions:
        """The directions in the latents of the generator with these ``weights``.

        They are kept in the run folder, and found anew for another checkpoint.
        """
        generator = self.generator(weights)
        space = "w" if isinstance(generator, Mapped) else "z"
        source = {"checkpoint_sha256": self.checkpoint.digest, "weights": weights, "space": space}
        find = partial(directions.find, generator, self.noise, len(self.class_names))
        path = layout.run_folder(self.path) / rundir_directions.FILE
        return rundir_directions.kept(path, self.noise.z_dim, source, find)

    def dataset(self, root: str | None = None) -> Dataset | Points:
        """The training data; from ``root`` if that is given. UserError if the images have another shape."""
        found = training_data(self.dataset_node(root))
        if isinstance(found, Domains):
            raise UserError(f"{self.path} translates images, and this is for a generator that draws from noise")
        drawn = list(self.image_shape)
        if list(found.image_shape) != drawn:
            raise UserError(
                f"the generator draws images of {drawn}, the data are {list(found.image_shape)}; give the folder of "
                "its own with root=PATH"
            )
        return found

    def domains(self, root: str | None = None) -> Domains:
        """The training data of a run that translates; from ``root`` if that is given."""
        found = training_data(self.dataset_node(root))
        if not isinstance(found, Domains):
            raise UserError(f"{self.path} should have been trained on images of two domains")
        if (found.image_shape, found.source_channels) != (self.image_shape, self.source_channels):
            raise UserError("the data are of another shape than the run's; give its own with root=PATH")
        return found

    def splits(self, root: str | None = None) -> Splits:
        """The training images and the held-out images. UserError for points."""
        train = self.dataset(root)
        if not isinstance(train, Dataset):
            raise UserError(f"{self.path} was trained on points, and this is for images")
        node = self.dataset_node(root)
        return Splits(train, validation(node), held_out(node))

    def dataset_node(self, root: str | None = None) -> Mapping[str, Any]:
        """The ``dataset`` group of the run; with another ``root`` if that is given."""
        node = self.group("dataset")
        return node if root is None else {**node, "root": os.path.abspath(os.path.expanduser(root))}

    def networks(self, config: Mapping[str, Any]) -> tuple[nn.Module, nn.Module]:
        """Both networks that ``config`` describes for the resumed run. Their weights are not loaded yet.

        UserError unless the checkpoint holds weights of the same shapes. Call this before the data are loaded: the data
        that a file describes may be too large.
        """
        shape, size = self.image_shape, config["dataset"].get("size")
        shipped = config["dataset"].get("_target_") in shipped_targets("dataset")
        if shipped and size is not None and list(shape[1:]) != (size if isinstance(size, list) else [size, size]):
            sides = "x".join(map(str, shape[1:] or shape))
            raise UserError(f"{self.path} has images of {sides}, and yet dataset.size={size}")
        facts = self.facts
        if self.two_domains:
            facts |= network_facts(config, self.source_channels)
        return (
            networks.generator(config["net"], facts, self.checkpoint.shapes_of("generator")),
            networks.discriminator(config["net"], facts, self.checkpoint.shapes_of("discriminator")),
        )

    def check_unchanged(self, data: Dataset | Points | Domains) -> None:
        """UserError if ``data`` differ from the run's training data in number or shape."""
        was = self.checkpoint.config.get("examples")
        if was != len(data):
            raise UserError(
                f"the data has changed: {was} examples when the run began, {len(data)} now; put it back as it was"
            )
        if data.image_shape != tuple(self.image_shape):
            raise UserError(
                f"the data has changed: its images have shape {data.image_shape} now; put it back as it was"
            )

    def check_classes(self, names: Sequence[str]) -> None:
        """UserError if ``names`` differ from the class names of the run."""
        if list(names) != self.class_names:
            raise UserError("the data has changed: its classes are not those of the run; put it back as it was")

    def check_files(self, data: Dataset | Points | Domains) -> None:
        """UserError if the fingerprint of ``data`` is not that of the run's data. Older checkpoints have none."""
        known, now = self.checkpoint.config.get("fingerprint"), data.fingerprint
        if None not in (known, now) and known != now:
            raise UserError(
                "the data has changed: its files have other names or contents than when the run began; put it "
                "back as it was"
            )


def open_run(location: str | Path, trust: Sequence[str] = ()) -> SavedRun:
    """The run whose checkpoint lies at ``location``, a run folder or a file. UserError if there is no checkpoint."""
    return SavedRun(checkpoint.read(location), trust)
