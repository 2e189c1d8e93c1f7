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

A request may name what is to be considered, as ``nodes`` and ``edges``; without a resource among them it is compiled
with the models of the intent. An edge is ``[from, to, kind]``, and a node has a ``kind``, an ``id``, a ``label`` and:

    intent      text                               what is wanted
    resource    resource_kind (llm, vm, tool, agent), role, provider, capabilities, cost_per_token,
                latency_target_ms, deterministic, external, priority
    constraint  predicate, arguments, severity (soft, hard, critical), scope (request, session, global)
    authority   identity_scope (public, agent, user, operator), policies
    memory      content, provenance, access (public, operator, internal)
    projection  view (panel, cockpit, debug, compact), min_health

What a resource ``requires`` is executed first, or has to hold; what ``blocks`` it keeps it from being used; an intent
that ``executes_on`` some resources is for these only; a resource knows the memories that it ``observes``, and
``projects_to`` what people are shown. The other edges (``enables``, ``transforms_into``, ``derives_from``,
``swaps_to``) say how things are connected, and decide nothing.

The ``contract`` has ``capabilities``, ``allowed`` and ``forbidden`` resources or providers, ``labels`` of the data, the
``authority`` and ``tier`` of who asks, ``max_ticks``, and the ``constraints`` of which two are shown above. The others
are ``max_latency_ms``, ``determinism`` and ``memory_policy``.

The phases (`phases`) are suggestors like any others, and all eight are needed. A swap is a proposal under
``proposals``, so ``gates: {hitl: {keys: [proposals]}}`` has a person agree to each. `executor` is the same execution as
a pure function, for whoever has no engine.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel

from converge_core import Catalog, PayloadRegistry, Site, Suggestor, hookimpl
from converge_plugins.ceg.facts import ExecutionRequest
from converge_plugins.ceg.phases import PHASES, Phase, PhaseSpec


@hookimpl
def converge_register_suggestors(catalog: Catalog[Suggestor]) -> None:
    """Offer the phases."""
    for spec in PHASES:
        catalog.add(f"ceg.{spec.name}", _factory(spec), spec.config, spec.summary)


def _factory(spec: PhaseSpec) -> Callable[[BaseModel, Site], Suggestor]:
    return lambda config, site: Phase(spec, config, site)


@hookimpl
def converge_register_payloads(registry: PayloadRegistry) -> None:
    """Register what they say, and the request that they converge on."""
    registry.register(ExecutionRequest)
    for spec in PHASES:
        for payload in spec.says:
            registry.register(payload)
