"""Language models behind the port `converge_core.llm.backend.Backend`, and what goes with them.

Nothing here imports an SDK before a model is asked. What a failure means is said once, in `outcomes`; whether an answer
keeps its contracts, once, in `structured`.
"""
