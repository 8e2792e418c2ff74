"""What this machine has, what a model needs, and how to load the one on the other."""

from localchat.hardware.gguf import read_header
from localchat.hardware.header import GgufArray, GgufHeader, TensorInfo
from localchat.hardware.machine import Gpu, Machine, probe
from localchat.hardware.need import MemoryNeed
from localchat.hardware.plan import LoadPlan, plan_load

__all__ = [
    "GgufArray",
    "GgufHeader",
    "Gpu",
    "LoadPlan",
    "Machine",
    "MemoryNeed",
    "TensorInfo",
    "plan_load",
    "probe",
    "read_header",
]
