"""Code beside an intent may say things in payload classes of its own, and its ledger can be read back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

CODE = """
    from typing import ClassVar

    from converge_core import ContextKey, FactPayload, ProposedFact, suggestor

    class Invoice(FactPayload):
        family: ClassVar[str] = "acme.invoice"
        amount: int

    @suggestor(reads=ContextKey.SEEDS)
    def bills(ctx):
        for seed in ctx.fresh(ContextKey.SEEDS):
            yield ProposedFact(ContextKey.SIGNALS, f"bill:{seed.id}", Invoice(amount=3))
"""
INTENT = """
    intent: {id: own}
    inputs: [{key: seeds, id: "s:{n}", items: [{n: 1}]}]
    suggestors: [{use: python, name: bills, with: {callable: "code:bills"}}]
"""


def converge(folder: Path, *args: str) -> str:
    environment = {**os.environ, "CONVERGE_HOME": str(folder / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "converge_cli", *args], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_another_process_reads_a_payload_class_that_nobody_depends_on(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(dedent(CODE))
    (tmp_path / "intent.yaml").write_text(dedent(INTENT))
    run_id = json.loads(converge(tmp_path, "run", "intent.yaml", "--json"))["run_id"]
    assert json.loads(converge(tmp_path, "replay", run_id, "--json"))["equal"] is True
