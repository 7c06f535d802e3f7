"""Self-test: redo what real Linux kernels wrote, and compare byte for byte."""

from blkcrypto.fs.selftest.report import Mismatch, SelfTestReport
from blkcrypto.fs.selftest.runner import run_golden

__all__ = ["Mismatch", "SelfTestReport", "run_golden"]
