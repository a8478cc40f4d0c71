"""Run a workflow on a message: as V1 does, or as its draft says (design sections 2 to 4).

Pure: providers and the clock are arguments. `v1` and `v2` each prepare a workflow once and execute
it as often as wanted; both give a `Trace`, which `worker.core.parity.compare` compares.
"""
