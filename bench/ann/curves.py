"""Queries per second at a recall: which settings are near it, measuring them in turns, and what lies between them."""

import math
import statistics

TARGETS = (0.90, 0.95, 0.99, 0.999)
BUSY = 1.1  # wall time by CPU time, above which something else had the CPU


class Setting:
    """One engine with one ef, and what was measured of it: by round, queries per second of CPU time."""

    def __init__(self, side, how, recall, tie_recall):
        self.side, self.how, self.recall, self.tie_recall = side, how, recall, tie_recall
        self.qps, self.thread_qps, self.wall_qps, self.busy = {}, {}, {}, 0

    def measure(self, vectors, k, seconds, round_, attempts=1):
        for _ in range(attempts):  # again if something else ran meanwhile
            a = self.side.search(vectors, k, seconds=seconds, **self.how)
            if a["wall_ns"] <= BUSY * a["cpu_ns"]:
                break
        else:
            self.busy += 1
        for clock, qps in (("cpu_ns", self.qps), ("thread_ns", self.thread_qps), ("wall_ns", self.wall_qps)):
            qps[round_] = a["passes"] * len(vectors.queries) * 1e9 / a[clock]

    def report(self, rounds):
        out = {**self.how, "recall": self.recall, "tie_recall": self.tie_recall, "busy_rounds": self.busy}
        return {**out, **{name: [getattr(self, name)[r] for r in range(rounds)] for name in ("qps", "thread_qps", "wall_qps")}}


def grid(k, most):
    """What ef is tried: four steps to double it."""
    out = [k]
    while out[-1] < most:
        out.append(min(most, max(out[-1] + 1, round(k * 2 ** (len(out) / 4)))))
    return out


class Curve:
    """The settings of one engine, and one variant of it, around each target recall."""

    def __init__(self, side, variant, vectors, truth, k, most):
        efs = grid(k, most)
        known = {}

        def at(i):
            if i not in known:
                how = {"ef": efs[i], **variant}
                ids = side.search(vectors, k, **how)["ids"]
                known[i] = Setting(side, how, truth.recall(ids, k), truth.tie_recall(ids, k, vectors))
            return known[i]

        self.around = {}  # by target: the settings below and above it; None where there is none
        top = 0
        while at(top).recall < TARGETS[-1] and top < len(efs) - 1:
            top = min(top + 4, len(efs) - 1)
        self.ceiling = max(s.recall for s in known.values())
        for target in TARGETS:
            if self.ceiling < target:
                self.around[target] = None
                continue
            high = min(i for i, s in known.items() if s.recall >= target)
            low = max((i for i, s in known.items() if i < high), default=-1)
            while high - low > 1 and low >= 0:
                middle = (low + high) // 2
                low, high = (low, middle) if at(middle).recall >= target else (middle, high)
            self.around[target] = (known[low] if low >= 0 else None, known[high])

    def settings(self, target):
        return [s for s in self.around[target] or () if s]

    def qps(self, target, round_):
        """Between the two settings the logarithm is taken to be linear in recall. Where the smallest ef is above the target
        already, what it has is given: the engine would be faster at the target, if it could be asked for so little."""
        low, high = self.around[target]
        if low is None:
            return high.qps[round_]
        share = (target - low.recall) / (high.recall - low.recall)
        return math.exp((1 - share) * math.log(low.qps[round_]) + share * math.log(high.qps[round_]))


class Engine:
    """An engine that is built, and its curves; at each target the best variant counts."""

    def __init__(self, side, variants, vectors, truth, k, most):
        self.name = side.name
        self.curves = [Curve(side, v, vectors, truth, k, most) for v in variants or [{}]]
        self.ceiling = max(c.ceiling for c in self.curves)
        self.best = {}
        for target in TARGETS:
            can = [c for c in self.curves if c.around[target]]
            if len(can) > 1:
                for s in {s for c in can for s in c.settings(target)}:
                    s.measure(vectors, k, 0.05, "trial")
            self.best[target] = max(can, key=lambda c: c.qps(target, "trial"), default=None) if len(can) > 1 else next(iter(can), None)

    def settings(self, target):
        return self.best[target].settings(target) if self.best[target] else []

    def at(self, target, rounds):
        """By round; None if the recall is never reached."""
        return [self.best[target].qps(target, r) for r in range(rounds)] if self.best[target] else None

    def report(self, rounds):
        used = {s for t in TARGETS for s in self.settings(t)}
        return {
            "ceiling": self.ceiling,
            "qps_at": {str(t): self.at(t, rounds) for t in TARGETS},
            "settings": [s.report(rounds) for s in sorted(used, key=lambda s: s.recall)],
        }


def measure(engines, vectors, k, rounds, seconds, attempts, say):
    """In each round the engines take turns at each target; the first one changes."""
    for round_ in range(rounds):
        say(f"round {round_ + 1} of {rounds}")
        done = set()
        for target in TARGETS:
            for i in range(len(engines)):
                for s in engines[(i + round_) % len(engines)].settings(target):
                    if s not in done:
                        done.add(s)
                        s.measure(vectors, k, seconds, round_, attempts)


def spread(values, form):
    """Median and range, for a table."""
    if not values:
        return "–"
    return f"{form(statistics.median(values))} ({form(min(values))}–{form(max(values))})"


def table(title, head, rows):
    """Prints a Markdown table."""
    print(f"\n**{title}**\n")
    print("| " + " | ".join(head) + " |")
    print("| " + " | ".join(["---"] * len(head)) + " |")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |", flush=True)
