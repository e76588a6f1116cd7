"""The doctor: each finding from records that show it, its beginning and end, and the line to type."""

import json
import shlex

import pytest
from helpers import FAST, train_tiny
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from gan_cli.config import validation
from gan_cli.diagnostics import doctor, remedies, seen
from gan_cli.diagnostics.doctor import examined, is_grave, verdict
from gan_cli.diagnostics.findings import KINDS, STOP, Kind, autocorrelation

CONFIG = {
    "loss": {"_target_": "gan_cli.losses.nonsaturating"}, "penalty": {"_target_": "gan_cli.penalties.r1", "gamma": 1.0},
    "augment": {"_target_": None}, "batch_size": 32, "k": 1, "examples": 1000, "image_shape": [1, 28, 28],
    "optimizer": {"generator": {"lr": 0.006}, "discriminator": {"lr": 0.002}},
}  # fmt: skip
HEALTHY = {
    "loss_d": 1.3, "loss_g": 0.8, "d_real": 0.55, "d_fake": 0.47, "d_accuracy_real": 0.7, "d_accuracy_fake": 0.7,
    "grad_norm_d": 1.0, "grad_norm_g": 0.2, "sample_std": 1.0, "sample_distance": 1.0, "sample_checkerboard": 1.0,
    "sample_saturation": 0.0,
}  # fmt: skip
# What each trouble changes in the records, and in the configuration.
TROUBLES = {
    "nearly_nonfinite": ({"penalty": 2e6}, {}),
    "rate_too_high": ({"loss_d": 40.0}, {}),
    "no_gradient": ({"grad_norm_g": 1e-7}, {}),
    "collapse": ({"sample_std": 0.4}, {}),
    "g_stands_still": ({"sample_std": 0.9, "sample_distance": 0.9}, {}),
    "d_overpowers": ({"loss_d": 0.01, "d_accuracy_real": 1.0, "d_accuracy_fake": 1.0}, {}),
    "d_at_chance": ({"d_real": 0.5, "d_fake": 0.5, "sample_std": 0.7}, {"penalty": {"_target_": "r1", "gamma": 100}}),
    "d_memorises": ({"d_accuracy_real": 0.95}, {}),
    "augmentation_leaks": ({"augment_p": 0.9}, {"augment": {"_target_": "ADA", "target": 0.9}}),
    "batch_too_small": ({}, {"batch_size": 2}),
    "oscillation": ({}, {}),
    "past_its_best": ({}, {}),
    "checkerboard": ({"sample_checkerboard": 50.0}, {}),
}  # fmt: skip


def _rows(change=(), n=40, first=0):
    """``n`` records, a hundred steps apart, of a healthy run with a ``change``. The samples change a little."""
    rows = []
    for i in range(first, first + n):
        row = {"step": 100 * (i + 1), "images": 3200 * (i + 1), **HEALTHY}
        row["sample_std"] += 0.01 * (i % 3)
        rows.append({**row, **dict(change)})
    return rows


def _named(rows, config=CONFIG):
    return {finding.name for finding in examined(rows, config).now}


def test_every_kind_of_finding_is_tried_here():
    assert TROUBLES.keys() == KINDS.keys()


def test_a_healthy_run_has_no_finding():
    found = examined(_rows(), CONFIG)
    assert found.history == [] and verdict(found) == "healthy"
    assert verdict(examined(_rows(n=4), CONFIG)) == "healthy so far; it is early to say"


@pytest.mark.parametrize("name", TROUBLES)
def test_records_of_a_trouble_are_told(name):
    change, options = TROUBLES[name]
    rows = _rows(change)
    if name == "oscillation":
        rows = [{**row, "loss_g": 0.2 if i % 2 else 9.0} for i, row in enumerate(rows)]
    if name == "past_its_best":
        rows = [{**row, "frechet": 10.0 + abs(i - 8)} for i, row in enumerate(rows)]
    named = _named(rows, {**CONFIG, **options})
    assert name in named
    assert named - {name} <= {"collapse", "g_stands_still", "d_at_chance", "d_memorises"}  # which may come with it


def test_other_losses_have_no_probabilities():
    rows = _rows({**TROUBLES["d_overpowers"][0]})
    for loss in ("wgan", "hinge", "lsgan", "relativistic"):
        assert _named(rows, {**CONFIG, "loss": {"_target_": f"gan_cli.losses.{loss}"}}) == set()


def test_a_relativistic_d_overpowers_by_the_distance_of_its_logits():
    """loss_g - loss_d = softplus(x) - softplus(-x) = x."""
    config = {**CONFIG, "loss": {"_target_": "gan_cli.losses.relativistic"}}
    assert _named(_rows({"loss_d": 0.0001, "loss_g": 9.2}), config) == {"d_overpowers"}
    assert _named(_rows({"loss_d": 0.03, "loss_g": 4.8}), config) == set()  # as after 4,000 steps of good faces


def test_held_out_images_decide_whether_d_memorises():
    sure = TROUBLES["d_memorises"][0]
    assert _named(_rows({**sure, "r_v": 0.1})) == set()  # D is as right on images that it has never seen
    assert _named(_rows({**sure, "r_v": 0.7})) == {"d_memorises"}
    assert _named(_rows({"r_v": 0.7, "d_accuracy_real": 0.6})) == set()  # at chance r_v is noise


def test_held_out_images_tell_of_memory_under_the_relativistic_loss():
    config = {**CONFIG, "loss": {"_target_": "gan_cli.losses.relativistic"}}
    sure = {"loss_d": 0.2, "loss_g": 3.2, "d_accuracy_real": 1.0}
    assert _named(_rows({**sure, "r_v": 0.8}), config) == {"d_memorises"}  # 100 faces after 2,000 steps
    assert _named(_rows({**sure, "r_v": 0.1}), config) == set()  # 20,000 faces
    assert _named(_rows(sure), config) == set()  # r_t has no meaning, because the zero of the logits has none
    assert _named(_rows({"loss_d": 0.5, "loss_g": 1.0, "r_v": 0.8}), config) == set()


def test_a_converged_run_at_chance_is_healthy():
    """At the equilibrium of section 4 D is at chance, and the samples are like the data."""
    assert _named(_rows({"d_real": 0.5, "d_fake": 0.5, "grad_norm_g": 0.005})) == set()


def test_a_finding_begins_after_three_records_and_ends_after_three():
    sick = _rows(TROUBLES["augmentation_leaks"][0], n=20)
    healed = _rows({"augment_p": 0.1}, n=20, first=20)
    found = doctor.Doctor(CONFIG)
    news = [(row["step"], one.name, one.since, one.until) for row in sick + healed for one in found.look(row)]
    assert news[0] == (300, "augmentation_leaks", 100, None)
    begun, (told, name, since, until) = news[0], news[1]
    assert (begun[1], since) == (name, 100)
    assert told == until + 200 and 2000 < until <= 2000 + 100 * seen.WINDOW
    assert found.now == [] and [one.until for one in found.history] == [until]


def test_one_record_alone_is_no_finding():
    rows = _rows()
    rows[20] = {**rows[20], "penalty": 1e7}  # in the window of eight records
    assert [one.until is not None for one in examined(rows, CONFIG).history] == [True]
    rows[20] = {**rows[20], "penalty": 1e5}
    assert examined(rows, CONFIG).history == []


def test_grave_are_the_findings_that_say_stop():
    assert is_grave(examined(_rows(TROUBLES["collapse"][0]), CONFIG))
    assert not is_grave(examined(_rows(TROUBLES["d_memorises"][0]), CONFIG))


def test_the_autocorrelation_is_that_of_the_definition():
    swing, correlation = autocorrelation([1.0, 3.0] * 50)
    assert (swing, correlation) == (pytest.approx(0.5), pytest.approx(-0.99))
    assert autocorrelation([1.0] * 9) is None and autocorrelation([1.0, 2.0]) is None


@pytest.mark.parametrize("name", [name for name in TROUBLES if name not in ("checkerboard", "past_its_best")])
def test_the_line_to_type_is_the_runs_own_and_composes(name):
    config = {**CONFIG, **TROUBLES[name][1]}
    words = ["loss=nonsaturating", "penalty.gamma=3", "seed=4", "run_dir=outputs/x", "batch_size=2"]
    line = remedies.line(name, config, words, "outputs/x")
    command, *typed = shlex.split(line)
    assert command == "gan-train" and "seed=4" in typed and typed[-1] == "run_dir=outputs/x-treated"
    keys = [word.partition("=")[0] for word in typed]
    assert len(keys) == len(set(keys)) and set(typed) - set(words)
    if name == "augmentation_leaks":
        typed.insert(0, "augment=ada")
    with initialize_config_module("gan_cli.configs", version_base="1.3"):
        composed = compose("train", typed)
    OmegaConf.resolve(composed)
    validation.validate(composed, "train")


def test_a_run_past_its_best_is_sampled_from_its_best():
    line = remedies.line("past_its_best", CONFIG, [], "outputs/my run")
    assert shlex.split(line)[1] == 'ckpt="outputs/my run/checkpoints/best.safetensors"'
    assert remedies.line("checkerboard", CONFIG, [], "x") is None


def test_a_g_that_hardly_moves_gets_the_rate_of_d():
    config = {**CONFIG, "optimizer": {"generator": {"lr": 1e-9}, "discriminator": {"lr": 0.002}}}
    for name in ("d_overpowers", "g_stands_still"):
        assert "optimizer.generator.lr=0.002" in remedies.line(name, config, [], "x")


def test_several_steps_of_d_become_one_and_points_get_a_small_gamma():
    bare = {**CONFIG, "penalty": {"_target_": None}}
    assert remedies.line("d_overpowers", {**bare, "k": 5}, ["k=5"], "x") == "gan-train k=1 penalty=r1 run_dir=x-treated"
    assert remedies.line("d_overpowers", bare, [], "x") == "gan-train penalty=r1 run_dir=x-treated"
    points = {**bare, "image_shape": [2]}
    assert remedies.line("collapse", points, [], "x") == "gan-train penalty=r1 penalty.gamma=0.01 run_dir=x-treated"
    hasty = {**points, "optimizer": {"generator": {"lr": 0.003}, "discriminator": {"lr": 0.0005}}}
    assert remedies.changes("collapse", hasty) == ["penalty=r1", "penalty.gamma=0.01", "optimizer.generator.lr=0.0005"]


def test_a_d_that_memorises_gets_augmentation_and_mirroring_stays():
    assert remedies.changes("d_memorises", CONFIG) == ["augment=diffaugment"]
    mirrored = {**CONFIG, "augment": {"_target_": "gan_cli.augment.DiffAugment", "policy": ["flip"]}}
    assert remedies.changes("d_memorises", mirrored) == [
        "augment=diffaugment", "augment.policy=[flip,color,translation,cutout]",
    ]  # fmt: skip
    augmented = {**CONFIG, "augment": {"_target_": "gan_cli.augment.ADA", "target": 0.6}}
    assert remedies.changes("d_memorises", augmented) == []


def test_a_choice_of_a_group_replaces_the_keys_within_it():
    assert remedies.kept(["penalty=none", "penalty.gamma=1", "penalty_x=3"], ["penalty=r1"]) == ["penalty_x=3"]


def test_a_run_tells_its_findings_and_keeps_them_over_a_resume(call, tmp_path):
    small = [word for word in FAST if not word.startswith("batch_size")]
    done = call("gan-train", *small, "batch_size=2", "steps=4", "run_dir=whole")
    assert "gan-train: batch too small since step 1: batch_size=2 (gan-doctor run=whole)" in done.stderr
    (found,) = [json.loads(line) for line in (tmp_path / "whole/findings.jsonl").read_text().splitlines()]
    assert found == {
        "name": "batch_too_small", "severity": "warning", "since": 1, "until": None, "evidence": "batch_size=2",
    }  # fmt: skip
    call("gan-train", *small, "batch_size=2", "steps=2", "run_dir=parts")
    assert not (tmp_path / "parts/findings.jsonl").exists()
    assert call("gan-train", "resume=parts", "steps=4").returncode == 0
    assert (tmp_path / "parts/findings.jsonl").read_bytes() == (tmp_path / "whole/findings.jsonl").read_bytes()
    told = call("gan-doctor", "run=whole")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("verdict: batch too small so far; it is early to say\n\nwarning: batch too small, ")
    assert (
        "\n  type: gan-train net=mlp " in told.stdout
        and told.stdout.count("type:") == 1
        and "batch_size=32" in told.stdout
    )
    (as_json,) = json.loads(call("gan-doctor", "run=whole", "json=true").stdout)
    assert as_json["line"] in told.stdout


def test_status_4_and_one_line_for_no_run(call, tmp_path):
    (tmp_path / "run").mkdir()
    rows = _rows(TROUBLES["rate_too_high"][0])
    (tmp_path / "run/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert call("gan-doctor", "run=run").returncode == 0  # no configuration: the loss is unknown
    rows = _rows(TROUBLES["collapse"][0])
    (tmp_path / "run/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = call("gan-doctor", "run=run")
    assert done.returncode == 4 and "stop: mode collapse, since step 200" in done.stdout
    none = call("gan-doctor", "run=other")
    assert (none.returncode, none.stderr) == (
        2, "gan-doctor: no run in other: give the folder of a run of gan-train\n",
    )  # fmt: skip


def test_a_collapse_ends_the_run_that_asks_for_it(tiny, tmp_path, monkeypatch):
    ill = Kind(STOP, "mode collapse", "why", lambda seen: "all alike" if len(seen.rows) > 1 else None)
    monkeypatch.setitem(KINDS, "collapse", ill)
    assert train_tiny(tiny, tmp_path / "on", steps=20, log_every=1).step == 20
    outcome = train_tiny(tiny, tmp_path / "off", steps=20, log_every=1, on_collapse="stop")
    assert outcome.step == 5 and outcome.signum is None  # found at step 4
    assert (tmp_path / "off/samples/00000005.png").is_file()
    assert train_tiny(tiny, tmp_path / "off", steps=8, log_every=1, on_collapse="stop", resume=True).step == 8
