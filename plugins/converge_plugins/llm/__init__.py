"""``llm``: a language model that proposes, like any other suggestor, and like any other is judged by the gates.

    models:
      - {use: anthropic, with: {model: claude-sonnet-4-5}}
      - {use: offline}

    suggestors:
      - use: llm
        name: causes
        with:
          for_each: signals
          prompt: |
            What may have caused this alert? {{ fact }}
            These hosts were changed today: {% for change in facts.seeds %}{{ change }}{% endfor %}
          output: {cause: string, service: string, certainty: number}
          key: hypotheses
          confidence: {field: certainty, at_most: 0.8}

What a model says can fill the fields of ``output`` and nothing else. Key and id of a proposal, its evidence and its
authority come from this configuration and from the facts that were asked about; its confidence too, or it is a number
of the answer, within bounds that the answer does not choose. And what the model reads of facts is data: a template is
written by whoever writes the intent, and each of its expressions becomes JSON between ``<data>`` and ``</data>``, in
which no text can end the data early.

Every answer is checked against ``output`` before anything is proposed; one of the wrong shape is asked for once more,
with the fault, and both calls are in the record. Tokens and money are set aside before a call. What each model was
asked, what it cost and who was passed over is in the ledger, in the trace of the effect; the words themselves are kept,
beside the ledger, with ``record: full``.
"""

from __future__ import annotations

from converge_core import Catalog, Suggestor, hookimpl
from converge_plugins.llm.chat import ChatConfig, ChatSuggestor
from converge_plugins.llm.config import LlmConfig
from converge_plugins.llm.suggestor import LlmSuggestor


@hookimpl
def converge_register_suggestors(catalog: Catalog[Suggestor]) -> None:
    """Offer ``llm`` and ``chat``."""
    catalog.add("llm", LlmSuggestor, LlmConfig, "Asks a language model, and proposes what it answers.")
    catalog.add("chat", ChatSuggestor, ChatConfig, "Routes messages to a model; each leaves one record.")
