"""CLIPS, through clipspy: a rule for each suggestor, a template for the facts.

The left side of a rule is matched by the Rete network in C. Its right side calls a Python function that makes the fact,
as a suggestor is written in Python too. What is loaded before a measurement is no part of it.
"""

from __future__ import annotations

from typing import Any

from clips import Environment

from bench import shapes
from bench.shapes import Laps
from bench.worker import Sample, Work, resident, serve, timed

TEMPLATE = "(deftemplate fact (slot topic (type INTEGER)) (slot name (type STRING)) (slot text (type STRING)))"


class Rules:
    """An environment with its rules; a rule says the name of its suggestor and the topic it writes."""

    def __init__(self, laps: Laps | None = None) -> None:
        self.environment: Any = Environment()
        self.environment.build(TEMPLATE)
        self._template = self.environment.find_template("fact")
        self._laps = laps
        self._said = 0
        self.environment.define_function(self.say, name="say")

    def say(self, name: str, topic: int) -> None:
        """Make a fact: the right side of every rule."""
        if self._laps is not None:
            self._laps.mark()
        self._said += 1
        self.tell(f"{name}@{self._said}", topic)

    def tell(self, name: str, topic: int) -> None:
        """Assert a fact."""
        self._template.assert_fact(topic=topic, name=name, text=shapes.text(name))

    def step(self, name: str, reads: int, writes: int) -> None:
        """Add a rule that is woken by a topic."""
        self.environment.build(f'(defrule {name} (fact (topic {reads})) => (say "{name}" {writes}))')

    def run(self, *topics: int, fired: int | None = None) -> None:
        """Forget all facts, begin with one of each topic, and run to the fixed point."""
        self.environment.reset()
        for topic in topics:
            self.tell(f"start{topic}", topic)
        done = self.environment.run()
        assert fired is None or done == fired, done


def chained(length: int, laps: Laps | None = None) -> Rules:
    """Return rules that wake each other."""
    rules = Rules(laps)
    for number in range(length):
        rules.step(f"s{number}", number, number + 1)
    return rules


def chain(length: int) -> Work:
    """W1."""
    rules = chained(length)
    return timed(lambda: rules.run(0, fired=length), length)


def fanned(width: int) -> Rules:
    """Return rules that one fact wakes, and one that waits for what they say: it fires once, at the lowest salience."""
    rules = Rules()
    for number in range(width):
        rules.step(f"s{number}", 0, 1)
    rules.environment.build(
        "(defrule join (declare (salience -1)) (not (fact (topic 1000000))) (exists (fact (topic 1)))"
        ' => (say "join" 1000000))'
    )
    return rules


def fan_out(width: int) -> Work:
    """W2."""
    rules = fanned(width)
    return timed(lambda: rules.run(0, fired=width + 1), width)


def sparse(registered: int, active: int = 10, cycles: int = 50) -> Work:
    """W3."""
    rules = Rules()
    for number in range(active * cycles):
        rules.step(f"s{number}", number, number + active)
    for number in range(active * cycles, registered):
        rules.step(f"s{number}", 2_000_000 + number % 50, 3_000_000)
    return timed(lambda: rules.run(*range(active), fired=active * cycles), active * cycles)


def large_context(facts: int, cycles: int = 20) -> Work:
    """W4."""
    laps = Laps()
    rules = chained(cycles + 2, laps)

    def sample() -> Sample:
        rules.environment.reset()
        for number in range(facts):
            rules.tell(f"old{number}", 4_000_000)
        rules.tell("start", 0)
        rules.environment.run()
        return laps.take(skip=1)

    return sample


def many_small(runs: int) -> Work:
    """W6: one environment, reset for every run; making one takes far longer.

    Each measurement has one of its own, for the older an environment is, the longer a reset takes.
    """

    async def sample() -> Sample:
        rules = fanned(4)

        def call() -> None:
            for _ in range(runs):
                rules.run(0, fired=5)

        return await timed(call, runs)()

    return sample


def waiting(runs: int) -> Work:
    """W6w: an environment each, after its rules have fired."""

    def sample() -> Sample:
        fanned(4).run(0)
        before = resident()
        held = [fanned(4) for _ in range(runs)]
        for rules in held:
            rules.run(0)
        return {"bytes": (resident() - before) / runs}

    return sample


if __name__ == "__main__":
    serve(
        {
            "chain": chain,
            "fan_out": fan_out,
            "sparse": sparse,
            "large_context": large_context,
            "many_small": many_small,
            "waiting": waiting,
        },
        "clipspy",
    )
