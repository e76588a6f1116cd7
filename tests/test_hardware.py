"""What is chosen by the hardware: with stand-ins for what this machine lacks."""

import ctypes
import sys

import pytest
import torch
import yaml
from helpers import FAST
from torch import nn

from gan_cli.errors import UserError
from gan_cli.training import device as hardware

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_data_stays_on_cuda_only_while_it_leaves_half_of_the_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    assert hardware.holds(CUDA, torch.zeros(500, dtype=torch.uint8))
    assert not hardware.holds(CUDA, torch.zeros(501, dtype=torch.uint8))
    assert hardware.holds(CPU, torch.zeros(501, dtype=torch.uint8))


def test_gather_gives_the_images_asked_for_in_their_order():
    data = torch.arange(24, dtype=torch.uint8).view(6, 1, 2, 2)
    indices = torch.tensor([5, 0, 5])
    assert torch.equal(hardware.gather(data, indices, CPU), data[indices])


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"amx_bf16": True}, True), ({"avx512_bf16": True}, True), ({"avx512_f": True}, False)],
)
def test_auto_precision_follows_the_cpu(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert hardware.bf16("auto", CPU) is expected
    assert hardware.bf16("bf16", CPU)
    assert not hardware.bf16("fp32", CPU)


def test_prepare_sets_cuda_up(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    precisions = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", precisions.append)
    hardware.prepare(CPU)
    assert (precisions, torch.backends.cudnn.benchmark) == ([], False)
    hardware.prepare(CUDA)
    assert (precisions, torch.backends.cudnn.benchmark) == (["high"], True)


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's malloc")
def test_memory_that_was_freed_stays_with_the_process():
    import resource

    hardware.prepare(CPU)

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(4 << 20)  # 16 MiB: 4,096 pages
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    # The allocator may first choose another free place, whose pages are new. Without mallopt every call meets some.
    assert min(faults() for _ in range(8)) < 400


def test_compile_off_is_the_network_and_without_a_compiler_there_is_one_line(monkeypatch):
    network = nn.Linear(2, 2)
    assert hardware.compiled(network, "off") is network
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="there is no no-such-compiler here; use compile=off"):
        hardware.compiled(network, "default")


def test_the_line_of_the_log(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True, "avx512_bf16": True}, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert hardware.described(CPU, True, "off", True) == "CPU, 2 threads, AMX, bf16"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    line = hardware.described(CUDA, False, "default", False)
    assert line == "Some GPU, TF32, data copied batch by batch, compiled (default)"


def test_threads_follow_from_cores_and_weights_alone(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(hardware, "cores", lambda: 4)
    small, large = nn.Linear(10, 10), nn.Linear(1000, 1000, device="meta")
    assert hardware.threads("auto", CPU, [small, small]) == 2
    assert hardware.threads("auto", CPU, [small, large]) == 3
    assert hardware.threads("auto", CPU, [large] * 9) == 4
    assert hardware.threads("auto", CUDA, [small]) == 4
    assert hardware.threads(7, CPU, [small]) == 7
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert hardware.threads("auto", CPU, [small]) == 4


def test_a_run_before_in_the_same_process_changes_nothing_for_the_rule(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    hardware.cores.cache_clear()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert hardware.threads(3, CPU, []) == 3
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)  # as the run before has set it
    assert hardware.threads("auto", CPU, [nn.Linear(2000, 2000, device="meta")]) == 2
    hardware.cores.cache_clear()


def test_several_processes_cannot_share_one_gpu(monkeypatch):
    monkeypatch.setattr(hardware.processes, "count", lambda: 2)
    monkeypatch.setattr(hardware.processes, "local_rank", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="this machine has 1 GPUs: use --nproc-per-node, or device=cpu"):
        hardware.device("auto")
    for name in ("cuda:0", "mps"):
        with pytest.raises(UserError, match=f"device={name} is one for all processes: use device=auto"):
            hardware.device(name)


def test_a_resumed_run_keeps_its_number_of_threads(call, tmp_path, monkeypatch):
    used = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    assert call("gan-train", *FAST, "run_dir=run", "steps=1", "threads=3").returncode == 0
    assert call("gan-train", *FAST, "run_dir=run", "steps=2", "resume=auto").returncode == 0
    assert call("gan-train", *FAST, "run_dir=run", "steps=3", "resume=auto", "threads=auto").returncode == 0
    assert call("gan-train", *FAST, "run_dir=run", "steps=4", "resume=auto", "threads=2").returncode == 0
    assert used == [3, 3, 3, 2]
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["threads"] == 2


@pytest.mark.parametrize("wrong", ["0", "1.5", "true", "many", "1025"])
def test_threads_that_are_no_number_get_one_line(call, tmp_path, wrong):
    done = call("gan-train", f"threads={wrong}")
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    shown = wrong.capitalize() if wrong == "true" else wrong
    assert done.stderr == f"gan-train: threads={shown} should be auto, or a whole number from 1 to 1024\n"
