"""What the CPU can do for INT8 networks."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

_INT8_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8"}


def has_int8_instructions() -> bool:
    """Whether the CPU multiplies 8-bit integers into 32-bit sums (Intel and AMD: VNNI or AMX).

    Without them ONNX Runtime's products of unsigned and signed bytes saturate at 16 bits, and INT8 is slower.
    """
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(_INT8_FLAGS & set(line.split()) for line in lines if line.startswith("flags"))
