"""The benchmarks run and compare like with like; how fast anything is, is not tested."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gan_cli.data import to_unit

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import speed


def _flops(network, *shape):
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network(torch.zeros(shape))
    return counter.get_total_flops()


@pytest.mark.parametrize("name", speed.WORKLOADS)
def test_both_sides_have_networks_of_the_same_products(name):
    workload = speed.WORKLOADS[name]
    images = (2, 1, workload.size, workload.size)
    with torch.device("meta"):
        ours, theirs = workload.pair(images[1:], workload.z_dim, 1), workload.textbook[0]()
    for mine, other, shape in zip(ours, theirs, [(2, workload.z_dim), images], strict=True):
        assert _flops(mine, *shape) == _flops(other, *shape) > 0


def test_the_textbook_sees_the_same_images():
    data = speed.digits(28, 1)
    image, label = speed.textbook.Digits(data.images[:, 0], data.labels, 28)[7]
    torch.testing.assert_close(image, to_unit(data.images[7]))
    assert label == data.labels[7]


def test_speed_prints_its_table_and_writes_the_same_as_json(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "peak", lambda dtype, device: 1e12)
    monkeypatch.setattr("gan_cli.training.folder.write_curves", lambda run_dir: None)  # takes longer than all the rest
    report = tmp_path / "speed.json"
    words = ["speed.py", "--workload", "mlp", "--rounds", "2", "--seconds", "0.001", "--json", str(report)]
    monkeypatch.setattr(sys, "argv", words)
    speed.main()
    header, _, *rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in header.split("|")[1:5]] == ["workload", "side", "images/s", "ours / textbook"]
    assert len(rows) == 2 and all(row.count("|") == header.count("|") for row in rows)

    theirs, ours = json.loads(report.read_text())["records"]
    # 64 images; a multiplication and an addition for each weight that meets a number, in each pass through a layer:
    # one pass of G and three of D, forward, for the weights, and for the inputs but where these are noise or pixels.
    g = [100 * 128, 128 * 256, 256 * 512, 512 * 1024, 1024 * 784]
    d = [784 * 512, 512 * 256, 256]
    assert theirs["flops_per_step"] == 2 * 64 * (3 * sum(g) - g[0] + 9 * sum(d) - 2 * d[0])
    assert ours["flops_per_step"] > 0
    for record in theirs, ours:
        assert len(record["images_per_second"]) == 2
        for rate, seconds, flops in zip(
            record["images_per_second"], record["seconds_per_step"], record["flops_per_second"], strict=True
        ):
            assert rate * seconds == pytest.approx(64)
            assert flops * seconds == pytest.approx(record["flops_per_step"])
    assert ours["ratio"] == pytest.approx(speed.over(ours["images_per_second"], theirs["images_per_second"]))
