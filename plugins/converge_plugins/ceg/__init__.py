"""``ceg``: the Convergence Execution Graph, into which a request is compiled, and along which it converges.

    inputs:
      - key: seeds
        payload: ceg.request
        id: question
        items:
          - {text: "Why is the queue full?", contract: {constraints: {max_cost: 0.01, external_io_policy: block}}}
    suggestors:
      - {use: ceg.compile}
      - {use: ceg.observe}
      - {use: ceg.constrain}
      - {use: ceg.dilate}
      - {use: ceg.swap}
      - {use: ceg.plan}
      - {use: ceg.execute}
      - {use: ceg.trace}

A graph G = (V, E, D, tau, S, H) has nodes and edges (`graph`), the dilation of each resource and the time that it takes
with it (`optimizer`), the state that is seen at each tick (`state`), and the registry of hot swaps (`swapping`).

The phases (`phases`) are suggestors like any others, and all eight are needed. A swap is a proposal under
``proposals``, so ``gates: {hitl: {keys: [proposals]}}`` has a person agree to each. `executor` is the same execution as
a pure function, for whoever has no engine.
"""

from __future__ import annotations

from functools import partial

from converge_core import Catalog, PayloadRegistry, Suggestor, hookimpl
from converge_plugins.ceg.facts import ExecutionRequest
from converge_plugins.ceg.phases import PHASES, Phase


@hookimpl
def converge_register_suggestors(catalog: Catalog[Suggestor]) -> None:
    """Offer the phases."""
    for spec in PHASES:
        catalog.add(f"ceg.{spec.name}", partial(Phase, spec), spec.config, spec.summary)


@hookimpl
def converge_register_payloads(registry: PayloadRegistry) -> None:
    """Register what they say, and the request that they converge on."""
    registry.register(ExecutionRequest)
    for spec in PHASES:
        for payload in spec.says:
            registry.register(payload)
