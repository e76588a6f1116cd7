"""What is chosen by the hardware: with stand-ins for what this machine lacks."""

import ctypes
import sys

import pytest
import torch
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
