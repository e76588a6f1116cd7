"""The installed commands, as a person types them, from a foreign folder."""

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers import COMMANDS, NARROW_MLP, ROOT, Process, invoke
from PIL import Image
from safetensors.torch import load_file

from gan_cli import cli, terminal
from gan_cli.config.words import below_home
from gan_cli.metrics import quality

FAST = [*NARROW_MLP, "batch_size=16", "log_every=5", "sample_every=10", "checkpoint_every=10"]


def _pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of ten steps."""
    folder = tmp_path_factory.mktemp("foreign")
    done = subprocess.run(
        [Path(sys.executable).parent / "gan-train", *FAST, "steps=10", "k=2", "run_dir=my run"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return folder / "my run", done


def test_a_run_writes_its_folder_and_ends_with_three_lines(run):
    run_dir, done = run
    assert {path.name for path in run_dir.iterdir()} == {
        "config.yaml", "status.json", "metrics.jsonl", "samples", "checkpoints", "curves.png", "training.webp",
        "events.out.tfevents.gan-cli", ".lock",
    }  # fmt: skip
    machine, *lines = done.stdout.splitlines()
    assert machine.startswith("on ")
    assert [line.split(":")[0] for line in lines] == ["step 5/10", "step 10/10", "step 10", "to sample", "to go on"]
    assert lines[-2].endswith("""gan-sample 'ckpt="my run"' n=64""")
    assert lines[-1].endswith("""gan-train 'resume="my run"' steps=20""")
    assert done.stderr == ""
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert (config["k"], config["net"]["generator"]["_target_"]) == (2, "gan_cli.networks.mlp.Generator")


def test_the_lines_at_the_end_can_be_typed(run, command):
    run_dir, _ = run
    sampled = command("gan-sample", 'ckpt="my run"', "n=5", "out=grid.png", cwd=run_dir.parent)
    assert sampled.returncode == 0, sampled.stderr
    assert sampled.stdout == "grid.png\n"
    assert _pixels(run_dir.parent / "grid.png").shape == (2 * 58 + 2, 3 * 58 + 2)


def test_samples_are_the_same_bytes_whatever_the_batch_size(run, call, tmp_path):
    run_dir, _ = run
    for name, batch_size in (("a", 1), ("b", 50)):
        done = call("gan-sample", f'ckpt="{run_dir}"', "n=70", f"out={name}.npz", f"batch_size={batch_size}", "seed=3")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    images = np.load(tmp_path / "a.npz")["images"]
    assert (images.shape, images.dtype) == ((70, 28, 28, 1), np.uint8)

    for name, weights in (("folder", "ema"), ("raw", "raw")):
        file = f'ckpt="{run_dir}/checkpoints/00000010.safetensors"'
        done = call("gan-sample", file, "n=3", f"out={name}", "seed=3", f"weights={weights}")
        assert done.returncode == 0, done.stderr
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == ["000000.png", "000001.png", "000002.png"]
    assert np.array_equal(_pixels(tmp_path / "folder" / "000002.png"), images[2, :, :, 0])
    assert not np.array_equal(_pixels(tmp_path / "raw" / "000002.png"), images[2, :, :, 0])


def test_a_run_stopped_and_resumed_equals_one_left_alone(call, tmp_path):
    assert call("gan-train", *FAST, "steps=12", "run_dir=whole").returncode == 0
    assert call("gan-train", *FAST, "steps=7", "run_dir=parts").returncode == 0
    resumed = call("gan-train", "resume=parts", "steps=12")
    assert resumed.returncode == 0, resumed.stderr
    whole, parts = (load_file(tmp_path / name / "checkpoints" / "last.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert yaml.safe_load((tmp_path / "parts" / "config.yaml").read_text())["steps"] == 12

    again = call("gan-train", *FAST, "steps=12", "run_dir=parts", "resume=auto")  # complete: nothing left to do
    assert again.returncode == 0, again.stderr
    assert "step 12: samples/" in again.stdout

    changed = call("gan-train", "resume=parts", "steps=20", "loss=minimax")
    assert (changed.returncode, changed.stderr.count("\n")) == (2, 1)
    assert "loss can't change" in changed.stderr


def test_ctrl_c_saves_and_ends_with_the_lines(tmp_path):
    out, err = tmp_path / "out", tmp_path / "err"
    process = Process("gan-train", [*FAST, "steps=1000000", "run_dir=run"], tmp_path, out, err)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "metrics.jsonl").exists() or not (tmp_path / "run" / "metrics.jsonl").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert err.read_text() == ""
    last = out.read_text().splitlines()[-3:]
    assert [line.split(":")[0] for line in last[1:]] == ["to sample", "to go on"]
    assert (tmp_path / "run" / "checkpoints" / "last.safetensors").is_file()


def test_a_sweep_ends_with_a_table(call, tmp_path):
    done = call("gan-train", "-m", *FAST, "loss=minimax,nonsaturating", "seed=0,1", "steps=5", "run_dir=sweep")
    assert done.returncode == 0, done.stderr
    head, first, second = done.stdout.split("\n\n")[-2].splitlines()
    assert head.split()[:3] == ["loss", "runs", "value"]
    assert first.split()[:2] == ["minimax", "2/2"]
    assert second.split()[:2] == ["nonsaturating", "2/2"]
    assert "±" in first
    rows = (tmp_path / "sweep" / "results.csv").read_text().splitlines()
    assert rows[0].startswith("loss,finished,runs,value_mean,value_std,")
    files = [path for path in (tmp_path / "sweep").glob("*/metrics.jsonl") if "loss-minimax" in path.parent.name]
    values = [json.loads(path.read_text().splitlines()[-1])["value"] for path in files]
    mean, std = map(float, rows[1].split(",")[3:5])
    assert mean == pytest.approx(np.mean(values))
    assert std == pytest.approx(np.std(values, ddof=1))


WRONG = [
    (["lss=minimax"], "no key 'lss'; did you mean 'loss'?"),
    (["+lss=minimax"], "no key 'lss'; did you mean 'loss'?"),
    (["loss=minmax"], "no loss 'minmax'; did you mean 'minimax'?"),
    (["net/generater=mlp"], "no key 'net/generater'; did you mean 'net/generator'?"),
    (["optimizer.lrr=1"], "no key 'lrr' in optimizer; did you mean 'lr'?"),
    (["experiment=nothing"], "no experiment 'nothing'"),
    (["k=0"], "k=0 is too small: at least 1"),
    (["lr=0.1"], "no key 'lr': write optimizer.lr=…"),
    (["ckpt=x"], "no key 'ckpt': write resume=…, or init=… for a new run"),
    (["epochs=3"], "no key 'epochs': write steps=…, where an epoch is (images / batch_size) steps"),
    (["--batch_size", "64"], "no option --batch_size: write batch_size=64, without dashes"),
    (["--batch-size=64", "k=2"], "no option --batch-size: write batch_size=64, without dashes"),
    (["steps=1.5e0"], "steps: Value '1.5'"),
    (["optimizer.lr={generator:1}"], "gan-train: optimizer.lr should be one for both networks, or {generator: …"),
    (["k=two"], "k: Value 'two'"),
    (["k=1,2"], "add -m"),
    (["k"], "write key=value"),
    (["run_dir=~no_such_user/x"], "write key=value, and 'key=\"value\"'"),
    (["seed=99999999999999999999"], "is too large: at most"),
    (["device=cuda:9999"], "no device"),
    (["net=mlp", "batch_size=1"], "use 2 or more"),
    (["net.z_dim=true"], "net.z_dim=True should be a whole number"),
    (["net.generator=3"], "net.generator names no _target_"),
    (["~net.prior"], "no net.prior None"),
    (["loss=null"], "`gan-train --help` lists each group's choices"),
    (["dataset=folder", "dataset.root=/tmp", "dataset.size=0"], "dataset.size=0 is too small"),
    (["optimizer.generator._target_=torch.optim.LBFGS"], "LBFGS has no option"),
    (["resume=nowhere", "run_dir=x"], "can't resume nowhere"),
    (["batch_size=-1"], "batch_size=-1 is too small"),
    (["precision=fp64"], "no precision 'fp64'; choose from auto, bf16, fp32"),
    (["device=gpu"], "no device 'gpu'; choose from auto, cpu"),
    (["optimizer.lr=-1"], "Invalid learning rate"),
    (["optimizer.betas=[0.5]"], "can't be built from"),
    (["penalty.gamma=high"], "penalty.gamma=high should be float"),
    (["penalty.interval=0"], "penalty.interval=0 should be a whole number"),
    (["net.prior=cauchy"], "no net.prior 'cauchy'"),
    (["net=dcgan", "dataset.size=30"], "add dataset.size=32"),
    (
        ["net=dcgan", "net.discriminator.norm=bach"],
        "no norm 'bach'; choose from batch, instance, layer, spectral, none",
    ),
    (["+loss.gamma=1"], "nonsaturating has no option 'gamma'"),
    (["+sinks.tensorboard.x=1"], "sinks.tensorboard: write has no option 'x'"),
    (["loss._target_=gan_cli.losses.nothing"], "can't find gan_cli.losses.nothing"),
    (["~loss._target_"], "loss names no _target_"),
    (["+penalty._args_=[1]"], "gan-cli takes no _args_"),
    (["+net.generator.classes=5"], "net.generator.classes is the data's to say"),
    (["conditional=true", "net=maxout"], "takes no labels"),
    (["conditional=true", "dataset=ring8"], "points have none"),
    (["augment=ada", "dataset=ring8"], "this augmentation is for images"),
    (["augment=flip", "dataset=gaussian1d"], "this augmentation is for images"),
    (["augment=diffaugment", "augment.policy=[flip,flip]"], "names an operation twice"),
    (["augment=ada", "augment.target=2"], "target=2 should be in [-1, 1]"),
    (["penalty=dragan", "dataset=ring8"], "has no option 'gamma'; if a dataset or an experiment sets it"),
    (["dataset=folder"], "needs dataset.root=PATH"),
    (["dataset=folder", "dataset.root=nowhere"], "nowhere is not a folder"),
    (["dataset.root=nowhere"], "holds no train-images"),
    (["dataset.root=.", "run_dir=deep/run"], "for a folder of images add dataset=folder"),
    (["dataset=ring8", "dataset.root=."], "this dataset has no root; for a folder of images add dataset=folder"),
    (["resume=nowhere"], "can't resume nowhere"),
    (["resume=nowhere/checkpoints/1.safetensors"], "it holds no checkpoint; give a run folder or a checkpoint file"),
    (["resume=auto"], "resume=auto needs the folder of the run: add run_dir=PATH"),
    (["-m", "resume=auto", "k=1,2"], "resume=auto needs the folder of the run: add run_dir=PATH"),
    (["init=nowhere"], "no such checkpoint"),
    (["freeze_d=1"], "freeze_d=1 keeps weights that init brings: add init=RUN"),
    (["-m", "run_dir=a,b"], "run_dir holds for the whole sweep: give one value"),
    (["run_dir=/dev/null/x"], "Not a directory"),
]


def _assert_one_line(done, line):
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert line in done.stderr


def _typed(value):
    return " ".join(value) if isinstance(value, list) else ""


@pytest.mark.parametrize(("arguments", "line"), WRONG, ids=_typed)
def test_a_mistake_gets_one_line_and_status_2_and_leaves_nothing(call, tmp_path, arguments, line):
    _assert_one_line(call("gan-train", *arguments), line)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("arguments", "line"), WRONG[::20], ids=_typed)
def test_the_installed_command_says_the_same(command, tmp_path, arguments, line):
    _assert_one_line(command("gan-train", *arguments), line)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_told(call):
    done = call("gan-train", "device=cuda")
    assert done.returncode == 2
    assert "torch finds no cuda device here; use device=cpu" in done.stderr


WRONG_SAMPLES = [
    ([], "ckpt is needed"),
    (["ckpt=nowhere"], "no such checkpoint: nowhere"),
    (["ckpt=."], "no checkpoint in ."),
    (["ckpt=x", "n=0"], "n=0 is too small"),
    (["ckpt=x", "weights=best"], "no weights 'best'; choose from ema, raw"),
    (["ckpt=x", "nn=3"], "no key 'nn'; did you mean 'n'?"),
    (["run=x"], "no key 'run': write ckpt=…"),
    (["-m", "ckpt=x,y"], "gan-sample has no -m"),
]


@pytest.mark.parametrize(("arguments", "line"), WRONG_SAMPLES)
def test_mistyped_samples_get_one_line(call, arguments, line):
    _assert_one_line(call("gan-sample", *arguments), line)


@pytest.mark.parametrize(
    ("argument", "line"),
    [("out=x.jpg", "can't write .jpg"), ("labels=[1]", "not conditional"), ("device=cuda:7", "device")],
)
def test_samples_that_cannot_be_written_get_one_line(run, call, argument, line):
    done = call("gan-sample", f'ckpt="{run[0]}"', argument)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert line in done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run_dir={}"], "holds a run already; add resume=auto"),
        (["resume={}", "run_dir=x"], "goes on in that folder: leave run_dir out"),
        (["resume={}"], "is complete; add steps=20 to go on"),
        (["resume={}", "steps=20", "k=3"], "k can't change when a run is resumed"),
        (["-m", "resume={}", "k=1,2"], "a sweep can't go on from one run"),
    ],
)
def test_a_finished_run_is_not_overwritten(run, call, arguments, line):
    run_dir, _ = run
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    done = call("gan-train", *(argument.format(f'"{run_dir}"') for argument in arguments))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert line in done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}


def test_a_whole_number_may_be_written_with_an_exponent(call, tmp_path):
    done = call("gan-train", *FAST, "steps=1e0", "batch_size=1.6e1", "run_dir=run")
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["steps"], config["batch_size"]) == (1, 16)


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        ("dataset.root=~/my faces", 'dataset.root="/home/ann/my faces"'),
        ("ckpt=~", 'ckpt="/home/ann"'),
        ("run_dir=~no_such_user/x", "run_dir=~no_such_user/x"),
        ("run_dir=~/a,~/b", "run_dir=~/a,~/b"),  # two values
        ("~net.prior", "~net.prior"),  # which takes a key out
        ("k=2", "k=2"),
    ],
)
def test_a_path_may_begin_with_the_home_folder(monkeypatch, typed, understood):
    monkeypatch.setenv("HOME", "/home/ann")
    assert below_home(typed) == understood


def test_a_folder_below_home_is_read(call, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my faces").mkdir()
    done = call("gan-train", "dataset=folder", "dataset.root=~/my faces", "dataset.size=8")
    _assert_one_line(done, f"no image files below {tmp_path}/my faces")


LETTERS = "Fréchet 1.5 ± 0.1, größe … Фото 犬 \udcff"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", r"Frechet 1.5 +/- 0.1, gro\xdfe ... \u0424\u043e\u0442\u043e \u72ac \udcff"),
        ("cp1252", r"Fréchet 1.5 ± 0.1, größe … \u0424\u043e\u0442\u043e \u72ac \udcff"),
        ("cp1251", r"Frechet 1.5 ± 0.1, gro\xdfe … Фото \u72ac \udcff"),
        ("cp932", r"Frechet 1.5 ± 0.1, gro\xdfe … Фото 犬 \udcff"),
        ("utf-8", r"Fréchet 1.5 ± 0.1, größe … Фото 犬 \udcff"),
    ],
)
def test_no_letter_is_too_much_for_an_output(monkeypatch, encoding, shown):
    written = {name: io.BytesIO() for name in ("stdout", "stderr")}
    for name, file in written.items():
        monkeypatch.setattr(sys, name, io.TextIOWrapper(file, encoding=encoding))
    terminal.take_any_letter()
    for stream in (sys.stdout, sys.stderr):
        print(LETTERS, file=stream, flush=True)
    assert [file.getvalue().decode(encoding) for file in written.values()] == [shown + "\n"] * 2


def test_every_command_works_where_few_letters_do(tmp_path, monkeypatch):
    """Ticks with a score, closing lines and helps, each as the command prints it in an encoding with few letters."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quality, "scores", lambda *_: lambda generator: {"frechet": 12.5})
    for name, words, told, encoding in [
        ("gan-train", [*FAST, "steps=2", "eval_every=2", 'run_dir="größe"'], "Frechet 12.5", "ascii"),
        ("gan-train", ["--help"], "Frechet", "cp932"),
        ("gan-eval", ["--help"], "gan-eval", "ascii"),
        ("gan-sample", ["--help"], "gan-sample", "cp1251"),
    ]:
        out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        done = invoke(COMMANDS[name], words, name, out=out)
        assert done.returncode == 0, done.stderr
        out.flush()
        assert told in out.buffer.getvalue().decode(encoding)


def test_a_reader_that_has_seen_enough_gets_no_traceback(tmp_path):
    code = "import sys; sys.argv = ['gan-train', '--help']; from gan_cli import cli; cli.train()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_hydra_full_error_shows_the_traceback(command):
    done = command("gan-train", "optimizer.lr=-1", env={**os.environ, "HYDRA_FULL_ERROR": "1"})
    assert done.returncode != 0
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["loss=minmax"], ["k=0"]])
def test_help_and_mistakes_are_answered_without_torch(tmp_path, arguments):
    code = "import sys; sys.argv = ['gan-train', *sys.argv[1:]]\nfrom gan_cli import cli\ntry: cli.train()\n"
    code += "except SystemExit: pass\nprint('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "False", done.stderr


def test_help_names_groups_and_keys(command):
    done = command("gan-train", "--help")
    assert done.returncode == 0
    datasets = "dataset: cifar10, digits_on_textures, drawn_faces, fashion_mnist, folder, gaussian1d, grid25, mnist,"
    losses = "loss: hinge, lsgan, minimax, nonsaturating, relativistic, wgan"
    as_typed = "max_seconds=null", "conditional=false", "lr_decay_after=64000 "
    for word in (datasets, losses, *as_typed, "if eval_every is set, else V(D, G)"):
        assert word in done.stdout
    choices = "dataset: ", "experiment: ", "net: ", "net/"  # Hydra lists a group in one line
    assert max(len(line) for line in done.stdout.splitlines() if not line.startswith(choices)) <= 120


def test_a_run_on_a_folder_is_not_trained_on_its_own_pictures_nor_resumed_on_others(call, tmp_path):
    for i in range(3):
        Image.new("L", (9, 9), 80 * i).save(tmp_path / f"{i}.png")
    data = [*FAST, "dataset=folder", "dataset.root=.", "dataset.size=8", "dataset.channels=1"]
    assert call("gan-train", *data, "steps=2", "run_dir=run").returncode == 0
    assert call("gan-train", "resume=run", "steps=3").returncode == 0  # though the run lies in the folder
    (tmp_path / "elsewhere").mkdir()
    assert call("gan-train", "resume=../run", "steps=4", cwd=tmp_path / "elsewhere").returncode == 0
    Image.new("L", (9, 9)).save(tmp_path / "new.png")
    changed = call("gan-train", "resume=run", "steps=5")
    assert (changed.returncode, changed.stderr.count("\n")) == (2, 1)
    assert "the data has changed: 3 examples when the run began, 4 now" in changed.stderr


def _train_with_a_small_disk():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    cli.train()


def test_a_full_disk_gets_one_line(tmp_path):
    out, err = tmp_path / "out", tmp_path / "err"
    run = Process("gan-train", [*FAST, "steps=10", "run_dir=run"], tmp_path, out, err, main=_train_with_a_small_disk)
    assert (run.wait(), err.read_text().count("\n")) == (2, 1), err.read_text()
    assert "00000000.safetensors: File too large" in err.read_text()
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name != ".lock"] == ["status.json"]


def test_transparent_images_are_learnt_and_shown_over_a_checkerboard(call, tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(4):
        Image.new("RGBA", (9, 9), (60 * i, 0, 0, 80 * i)).save(tmp_path / "images" / f"{i}.png")
    data = ["dataset=folder", "dataset.root=images", "dataset.size=[8,12]", "dataset.channels=4"]
    net = ["net.generator.widths=[8]", "net.discriminator.widths=[8]"]
    done = call("gan-train", *FAST, *data, *net, "steps=2", "samples=4", "run_dir=run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == "4 images of 12x8"
    grid = _pixels(tmp_path / "run" / "samples" / "00000002.png")
    assert grid.shape == (2 * 66 + 2, 2 * 98 + 2, 3)
    assert call("gan-sample", "ckpt=run", "n=2", "out=png").returncode == 0
    with Image.open(tmp_path / "png" / "000000.png") as image:
        assert (image.mode, image.size) == ("RGBA", (12, 8))
    assert call("gan-sample", "ckpt=run", "n=2", "out=a.npz").returncode == 0
    assert np.load(tmp_path / "a.npz")["images"].shape == (2, 8, 12, 4)


def test_an_image_folder_end_to_end(call, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    data = ["dataset=folder", "dataset.root=.", "dataset.size=32"]
    net = ["net=dcgan", "net.generator.width=4", "net.discriminator.width=4", "penalty=r1"]
    done = call("gan-train", *data, *net, "steps=2", "batch_size=8", "samples=4", "run_dir=run")
    assert done.returncode == 0, done.stderr
    assert "r1 penalises each image's own gradient, but the discriminator's batch normalisation" in done.stderr
    assert _pixels(tmp_path / "run" / "samples" / "00000002.png").shape == (2 * 66 + 2, 2 * 66 + 2, 3)


def _files_to_copy():
    """The code blocks of docs/extend.md that begin with a file's name, and what they hold."""
    readme = (ROOT / "docs/extend.md").read_text()
    return dict(re.findall(r"```\w+\n# (\S+\.(?:py|yaml))\n(.*?)```", readme, flags=re.DOTALL))


def test_a_loss_a_dataset_and_a_network_of_ones_own(call, tmp_path, monkeypatch):
    """The example of docs/extend.md as it stands: a function or class and a YAML file each, outside the package."""
    files = _files_to_copy()
    assert len(files) >= 4
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    own = ["--config-dir", "my_configs", "loss=least_squares", "dataset=stripes", "net/generator=shallow"]
    done = call("gan-train", *own, "loss.target=0.9", "steps=5", "batch_size=8", "run_dir=run")
    assert done.returncode == 0, done.stderr
    assert [line.endswith("trust=[mine]'") for line in done.stdout.splitlines()[-2:]] == [True, True]

    stranger = call("gan-sample", "ckpt=run", "n=4")
    assert stranger.returncode == 2
    assert "names mine.Generator, which is not part of gan-cli; if you trust it: trust=[mine]" in stranger.stderr
    assert call("gan-sample", "ckpt=run", "n=4", "trust=[mine]").returncode == 0
    assert call("gan-train", "resume=run", "steps=6").returncode == 2
    assert call("gan-train", "resume=run", "steps=6", "trust=[mine]").returncode == 0
