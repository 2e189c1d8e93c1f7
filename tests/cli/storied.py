"""A run in which much happens, and all of it in words that somebody has chosen with care."""

from __future__ import annotations

from pathlib import Path

from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_core import (
    AgentEffect,
    Budget,
    Context,
    ContextKey,
    ContextState,
    ConvergeResult,
    DataPayload,
    Engine,
    HitlPolicy,
    ProposedFact,
    RootIntent,
    Suggestor,
    Usage,
)
from tests.cli.audited import Audited
from tests.core.stage import HYPOTHESES, SEEDS, SIGNALS, Says, approve, finish, play, reject, text
from tests.fakes.approver import FakeApprover

RUN = "storied"
SCRIPT = "<script>alert(1)</script>"
ESCAPES = "red \x1b[31malert\x07 \u202egnorw"
PICK, WEIGHED = "strategies/pick", "hypotheses/weighed"
SOURCE = 'https://example.com/?a=1&b="><script>'


class Dear(Says):
    """Says its words, and what they have cost."""

    def execute(self, ctx: Context) -> AgentEffect:
        return AgentEffect.with_proposals(
            self.proposals, Usage(input_tokens=900, output_tokens=100, cost_microusd=2500)
        )


class Fails(Suggestor):
    """Fails, in words of its own."""

    name = "fails"
    optional = True
    dependencies = (SEEDS,)

    def execute(self, ctx: Context) -> AgentEffect:
        raise RuntimeError(f"{SCRIPT} {ESCAPES}")


def storied(folder: Path, run_id: str = RUN) -> Audited:
    """Return the command line beside a ledger that holds the run."""
    record(folder / "ledger.db", run_id)
    return Audited(folder)


def record(path: Path, run_id: str = RUN) -> ConvergeResult:
    """Let the run happen, and keep it in a ledger."""
    engine = Engine(
        budget=Budget(max_cycles=9, max_facts=50, max_tokens=5000),
        hitl_policy=HitlPolicy(gated_keys=(ContextKey.STRATEGIES,)),
    )
    weighed = ProposedFact(
        HYPOTHESES,
        "weighed",
        DataPayload(data={"note": SCRIPT, "weight": 2}),
        evidence=["seeds/<b>bold</b>", "seeds/plain", SOURCE],
    )
    for suggestor in (
        Dear("weigh", weighed, reads=[SEEDS]),
        Says("again", text("plain", "plain"), text("blank", " ", key=SIGNALS), reads=[SEEDS]),
        Fails(),
        Says(
            "choose",
            text("pick", f"pick {SCRIPT}", ContextKey.STRATEGIES, confidence=0.5, evidence=[WEIGHED, "seeds/plain"]),
            text("no", "drop it", ContextKey.STRATEGIES),
            reads=[HYPOTHESES],
        ),
    ):
        engine.register_suggestor(suggestor)
    context = ContextState()
    context.add_input(SEEDS, "<b>bold</b>", f"{SCRIPT} {ESCAPES}")
    context.add_input(SEEDS, "plain", "plain")
    no = reject("eve", f"because {SCRIPT}")
    approver = FakeApprover({PICK: approve("ann"), "strategies/no": no})
    intent = RootIntent("story", objective=f"Tell a {SCRIPT} story", budget=engine.budget)
    ledger = SqliteLedger(path)
    played = play(engine, context, intent, run_id=run_id, approver=approver, ledger=ledger)
    finish(ledger.close())
    return played.result
