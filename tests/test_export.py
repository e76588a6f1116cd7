"""gan-export: each form of a generator gives what torch gives, and what can't be written is said in one line."""

import dataclasses
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers import ROOT, save_modules
from torch import nn
from torch.fx.experimental import _config

import gan_cli
from gan_cli import sampling
from gan_cli.directions import find as find_directions
from gan_cli.errors import UserError
from gan_cli.exports import graph, play, program, subject
from gan_cli.networks import (
    conv,
    cs231n,
    dcgan,
    maxout,
    mlp,
    pictures,
    r3gan,
    resnet,
    resnet_translator,
    stylegan2,
    toy,
    unet,
)
from gan_cli.noise import Noise
from gan_cli.rundir.checkpoint import Progress
from gan_cli.translating import translate

tracing = pytest.mark.skipif(not hasattr(_config, "backed_size_oblivious"), reason="torch before 2.9 can't trace")
GREY, COLOUR = (1, 28, 28), (3, 16, 16)
RUNTIME = ROOT / "gan_cli/reports/assets/runtime.js"
# Reads {graph, weights, inputs} and prints the levels of the pixels, by the script of the page.
RUN = """
const fs = require("fs"), vm = require("vm"), context = vm.createContext({});
vm.runInContext(fs.readFileSync(process.argv[1], "utf8") + "; globalThis.load = runtime.load;", context);
const { graph, weights, inputs } = JSON.parse(fs.readFileSync(0, "utf8"));
const bytes = Buffer.from(weights, "base64");
const run = context.load(graph, bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
console.log(JSON.stringify(inputs.map(given => Array.from(run(given)))));
"""
# Each generator by itself: the network, its prior, its number of classes. The outputs vary: see `lively`.
GENERATORS = {
    "conv": (lambda c: conv.Generator(GREY, 6, width=4, classes=c), "normal", 3),
    "pictures": (lambda c: pictures.Generator(COLOUR, 6, width=4, classes=c), "normal", 3),
    "dcgan": (lambda c: dcgan.Generator(COLOUR, 6, width=4, classes=c), "normal", 3),
    "resnet": (lambda c: resnet.Generator(COLOUR, 6, width=8, attention=8, classes=c), "normal", 2),
    "r3gan": (lambda c: r3gan.Generator(COLOUR, 6, width=16, max_width=16, classes=c), "normal", 2),
    "stylegan2": (lambda c: stylegan2.Generator(COLOUR, 6, width=4, max_width=8, classes=c), "normal", 2),
    "mlp": (lambda c: mlp.Generator(GREY, 6, widths=(8, 8, 16), classes=c), "normal", 3),
    "maxout": (lambda c: maxout.Generator(GREY, 6, width=16), "uniform", 0),
    "cs231n": (lambda c: cs231n.Generator(GREY, 6), "uniform", 0),
    "cs231n_dc": (lambda c: cs231n.ConvGenerator(GREY, 6), "uniform", 0),
    "toy": (lambda c: toy.Generator((2,), 6, widths=(8,)), "normal", 0),
    "waves": (lambda c: toy.Generator((2,), 6, widths=(8,), waves=4), "normal", 0),
}
CASES = [(name, c) for name, (_, _, classes) in GENERATORS.items() for c in {0, classes}]
TRANSLATORS = {
    "unet": lambda: unet.Generator((3, 16, 16), width=4),
    "unet_resize": lambda: unet.Generator((3, 16, 16), width=4, upsampling="resize", antialias=True, norm="instance"),
    "resnet_translator": lambda: resnet_translator.Generator((3, 16, 16), width=4, blocks=1),
    "resnet_translator_batch": lambda: resnet_translator.Generator((3, 16, 16), width=4, blocks=1, norm="batch"),
}


def lively(network, *inputs):
    """``network`` in eval mode with all of its parts at work, so that its outputs for ``inputs`` are far from alike."""
    rng = torch.Generator().manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.track_running_stats:
            layer.running_mean.normal_(0, 0.1, generator=rng)
            layer.running_var.uniform_(0.5, 2, generator=rng)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1, generator=rng)
        network.eval()
        while inputs and network(*inputs).std(dim=0).mean() < 0.1:
            for parameter in network.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(1.3)
    return network


def drawn(name, classes):
    torch.manual_seed(0)
    make, prior, _ = GENERATORS[name]
    inputs = [sampling.latents(Noise(prior, 6), 16, 0), *([torch.arange(16) % classes] if classes else [])]
    generator = lively(make(classes), *inputs)
    return generator, Noise(prior, 6), subject.drawing(generator, Noise(prior, 6), classes, name in ("toy", "waves"))


def same(of, exported, dtype=torch.float32):
    """Whether all trials gave outputs close to torch's, and differ among themselves."""
    found = program.check(of, exported, dtype)
    assert [one.shape[0] for one in found] == [1, 3, 64]
    some = [of.reference(inputs) for inputs in of.trials()]
    assert some[2].std(dim=0).mean() > 0.03  # images that are all alike would say nothing
    return found


def as_program(of, dtype=torch.float32):
    of.network.to(dtype)
    traced = program.traced(of)
    same(of, program.loaded(program.saved(traced)), dtype)
    return traced


@pytest.fixture
def run_dir(tmp_path):
    """The run folder of a small conditional generator, with scores."""
    torch.manual_seed(0)
    inputs = sampling.latents(Noise("normal", 4), 16, 0), torch.arange(16) % 2
    generator = lively(conv.Generator((1, 8, 8), 4, width=2, classes=2), *inputs)
    net = {
        "generator": {"_target_": "gan_cli.networks.conv.Generator", "width": 2},
        "discriminator": {"_target_": "gan_cli.networks.conv.Discriminator"}, "z_dim": 4, "prior": "normal",
    }  # fmt: skip
    config = {"net": net, "image_shape": [1, 8, 8], "class_names": ["a|b", "</script>"], "examples": 7,
              "dataset": {"_target_": "gan_cli.data.idx.mnist"}, "licence": "CC BY"}  # fmt: skip
    save_modules(tmp_path / "run/checkpoints", Progress(7, 70, 1.5), config, {"generator": generator, "ema": generator})
    row = {"value": 3.25, "n_fake": 1000, "split": "test", "error": None, "real_data": 1.0, "extractor": "classifier",
           "step": 7, "weights": "ema"}  # fmt: skip
    older = {**row, "value": 99.0, "step": 6}
    (tmp_path / "run/eval.json").write_text(json.dumps({"frechet": row, "kid": older}))
    return tmp_path / "run"


def images_of(run_dir, n=5):
    """Images of the run in [-1, 1], with the inputs that give them."""
    generator = gan_cli.load_generator(run_dir)
    z, labels = sampling.latents(Noise("normal", 4), n, 3), torch.arange(n) % 2
    with torch.no_grad():
        return z, labels, generator(z, labels)


@tracing
def test_a_program_runs_without_the_class_at_any_batch(run_dir, call):
    done = call("gan-export", "ckpt=run", "out=x.pt2")
    assert done.returncode == 0 and re.search("1x4: .*3x4: .*64x4: ", done.stdout), done.stderr
    z, labels, expected = images_of(run_dir)
    found = torch.export.load(run_dir.parent / "x.pt2").module()(z, labels)
    torch.testing.assert_close(found, expected)


def test_a_folder_is_a_repository_of_the_hub_and_its_card_says_how_to_use_it(run_dir, call, monkeypatch):
    done = call("gan-export", "ckpt=run", "out=hub", "licence=mit")
    assert done.returncode == 0, done.stderr
    folder = run_dir.parent / "hub"
    assert {path.name for path in folder.iterdir()} == {"README.md", "config.json", "model.safetensors", "samples.png"}
    card = (folder / "README.md").read_text()
    head = card.split("---")[1]
    assert "license: mit" in head and "pipeline_tag: unconditional-image-generation" in head and "- frechet" in head
    assert "| frechet | 3.25 | 1 | classifier, test data, 1,000 samples |" in card and "99" not in card
    assert "Licence of the data: CC BY." in card and (folder / "samples.png").stat().st_size > 100
    assert set(safetensors.torch.load_file(folder / "model.safetensors")) == set(
        gan_cli.load_generator(run_dir).state_dict()
    )
    (usage,) = re.findall("```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(folder)
    names = {}
    exec(usage, names)  # the lines as they stand
    assert names["images"].shape == (16, 1, 8, 8)
    z, labels, expected = images_of(run_dir)
    with torch.no_grad():
        torch.testing.assert_close(names["generator"](z, labels), expected)
    (folder / "notes.txt").write_text("mine")
    done = call("gan-export", "ckpt=run", "out=hub", "weights=raw", "dtype=fp16")  # again, over the files of its own
    assert done.returncode == 0 and json.loads((folder / "config.json").read_text())["weights"] == "raw"
    assert "None were measured with these weights." in (folder / "README.md").read_text()
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["out=x.foo"], "gan-export writes .onnx, .pt2, .html, or a folder"),
        (["out=x", "opset=18"], "opset= is for .onnx files"),
        (["out=other"], "out=other holds other files"),
        (["out=x.png"], "gan-export writes .onnx, .pt2, .html, or a folder"),
        (["out=run.onnx", "backward=true"], "backward= is for CycleGAN's second generator"),
        (["out=x.pt2", "dtype=int8"], "no dtype 'int8'"),
        ([], "out is needed"),
    ],
)
def test_what_cannot_be_written_is_said_in_one_line(run_dir, call, words, line, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/letter.txt").write_text("mine")
    before = {*tmp_path.rglob("*")}
    done = call("gan-export", "ckpt=run", *words)
    assert done.returncode == 2 and line in done.stderr and done.stderr.count("\n") == 1
    assert {*tmp_path.rglob("*")} == before


@pytest.mark.parametrize("wrong", [0.9, float("nan")])
def test_a_file_that_differs_is_not_written(run_dir, call, tmp_path, monkeypatch, wrong):
    monkeypatch.setattr(program, "traced", lambda of: None)
    monkeypatch.setattr(program, "saved", lambda traced: b"of another generator")
    monkeypatch.setattr(program, "loaded", lambda content: lambda of: torch.full((len(of["labels"]), 1, 8, 8), wrong))
    done = call("gan-export", "ckpt=run", "out=x.pt2")
    assert done.returncode == 2 and "differs from torch by" in done.stderr and not (tmp_path / "x.pt2").exists()


def test_onnx_without_its_packages_is_one_line(run_dir, call, monkeypatch):
    monkeypatch.setattr("gan_cli.exports.onnx.find_spec", lambda name: None if name == "onnxscript" else name)
    done = call("gan-export", "ckpt=run", "out=x.onnx")
    assert (done.returncode, done.stderr) == (2, "gan-export: .onnx needs onnxscript: pip install 'gan-cli[export]'\n")


def page_of(text):
    """The data and the weights of a page."""
    (data,) = re.findall('<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    (weights,) = re.findall('id="weights">(.*?)</script>', text, re.DOTALL)
    return json.loads(data), weights


def in_node(data, weights, inputs):
    """The images, flat, in [-1, 1], of the page's script under node."""
    if not (node := shutil.which("node")):
        pytest.skip("node is not installed: the page's script is not run")
    task = json.dumps({"graph": data["graph"], "weights": weights, "inputs": inputs})
    done = subprocess.run([node, "-e", RUN, str(RUNTIME)], input=task, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout))


def levels(images):
    return np.clip(np.round((images + 1) * 127.5), 0, 255)


@tracing
def test_a_page_holds_the_generator_and_draws_its_images(run_dir, call):
    done = call("gan-export", "ckpt=run", "out=play.html")
    assert done.returncode == 0, done.stderr
    text = (run_dir.parent / "play.html").read_text()
    data, weights = page_of(text)
    assert len(text) - len(weights) < 100_000 and "http" not in re.sub("<meta http-equiv", "", text)
    assert data["classes"] == ["a|b", "</script>"] and "</script></button>" not in text
    z, labels, expected = images_of(run_dir)
    found = in_node(
        data, weights, [{"latents": a.tolist(), "labels": b.item()} for a, b in zip(z, labels, strict=True)]
    )
    assert np.abs(levels(found) - levels(expected.flatten(1).numpy())).max() <= 2


@tracing
@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["fp32", "fp16"])
@pytest.mark.parametrize(("name", "classes"), CASES)
def test_each_generator_is_a_program_and_an_onnx_file(name, classes, dtype):
    onnx = pytest.importorskip("gan_cli.exports.onnx")
    pytest.importorskip("onnxscript", reason="needs gan-cli[export]")
    _, _, of = drawn(name, classes)
    traced = as_program(of, dtype)
    content = onnx.converted(traced, of, None, {"gan-cli": "0"})
    same(of, onnx.loaded(content), dtype)
    if "truncation" in of.inputs:  # it may be left out, and is 1 then
        whole, given = onnx.loaded(content), {k: v for k, v in of.inputs.items() if k != "truncation"}
        torch.testing.assert_close(whole(given), whole({**given, "truncation": torch.tensor(1.0)}))


@tracing
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eval", "train_stats"])
@pytest.mark.parametrize("name", TRANSLATORS)
def test_each_translator_takes_any_sides(name, mode):
    onnx = pytest.importorskip("gan_cli.exports.onnx")
    pytest.importorskip("onnxscript", reason="needs gan-cli[export]")
    torch.manual_seed(0)
    generator = lively(TRANSLATORS[name](), torch.rand(4, 3, 16, 16) * 2 - 1)
    of = subject.translating(generator, 3, (16, 16), mode)
    traced = program.traced(of)
    for exported in (program.loaded(program.saved(traced)), onnx.loaded(onnx.converted(traced, of, None, {}))):
        assert [one.shape for one in same(of, exported)] == [(1, 3, 16, 16), (3, 3, 32, 16), (64, 3, 16, 16)]
        sources = torch.randint(0, 256, (2, 3, 48, 32), dtype=torch.uint8)
        for layer in generator.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
        expected = translate(generator, sources, mode).float()
        found = exported({"images": sources / 127.5 - 1}).add(1).mul(127.5)
        assert (found - expected).abs().max() < 0.51  # the levels are rounded


@tracing
@pytest.mark.slow
@pytest.mark.parametrize(("name", "classes"), [case for case in CASES if case[0] not in ("toy", "waves")])
def test_the_pages_script_draws_each_generators_images(name, classes):
    generator, noise, of = drawn(name, classes)
    found, _ = play.graph(generator, noise, classes, torch.float16)
    directions = find_directions(generator, noise, classes)
    text = play.rendered(
        found, generator, noise, (1, 8, 8), [], directions, {"name": "", "about": "", "trained_on": ""}
    )
    (inputs,) = [inputs for inputs in of.trials() if len(inputs["latents"]) == 3]
    given = [
        {k: v.item() if v.dim() == 0 else v[i].tolist() for k, v in inputs.items()} | {"moves": [0.0] * 6}
        for i in range(3)
    ]
    expected = of.reference(inputs)
    assert expected.std() > 0.05
    images = in_node(*page_of(text.decode()), given)
    assert np.abs(levels(images) - levels(expected.flatten(1).numpy())).max() <= 2


@tracing
def test_an_operator_that_the_page_lacks_is_named():
    class Erf(nn.Module):
        def forward(self, latents):
            return torch.special.erf(latents)

    of = dataclasses.replace(
        subject.drawing(conv.Generator((1, 8, 8), 4, width=1).eval(), Noise("normal", 4), 0),
        network=Erf(), inputs={"latents": torch.zeros(1, 4)}, dynamic={},
    )  # fmt: skip
    with pytest.raises(UserError, match=r"can't run the operator aten.erf.default"):
        graph.graph_of(program.traced(of), ["latents"], torch.float16)
