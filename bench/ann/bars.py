"""What only embedd is measured for: memory modes, all neighbours, filters, snapshots, writers, churn."""

import statistics
import tempfile
from pathlib import Path

import numpy

from child import Child, labels
from curves import TARGETS, table
from data import metadata, truths

RATES = (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0001)
CATEGORIES = ("cs.CV", "cs.CL", "cs.LG", "quant-ph", "cs.RO", "cond-mat.mes-hall", "math.NA", "q-bio.NC")
EFS = (24, 32, 48, 64, 96, 128, 192, 256, 384)
PLANS = ("auto", "graph", "scan")


def modes(run):
    """Recall at equal ef and memory of the memory modes; the recall that is got where one is asked for; and the exact search."""
    rows, out = [], {"ef": EFS, "modes": {}}
    sides = {name: run.side(name) for name in ("embedd", "embedd_fast", "embedd_lean")}
    seen = {name: [] for name in sides}
    for ef in EFS:
        for name, side in sides.items():
            a = side.search(run.vectors, run.k, ef=ef, seconds=run.seconds)
            seen[name].append((run.truth.recall(a["ids"], run.k), qps(a, run.vectors.queries)))
    for name in sides:
        recalls = [r for r, _ in seen[name]]
        loss = max(f - r for r, (f, _) in zip(recalls, seen["embedd_fast"]))
        cost = run.costs[name][-1]
        out["modes"][name] = {"recall": recalls, "qps": [q for _, q in seen[name]], "loss": loss, **cost}
        rows.append([name, *(f"{r:.4f}" for r in recalls), f"{loss:+.4f}", f"{cost['bytes_per_vector']:,.0f}", f"{cost['file_bytes_per_vector']:,.0f}"])
    table(f"Memory modes: recall@{run.k} at equal ef, the most that is lost against float32, bytes a vector in memory and mapped",
          ["mode", *(f"ef {ef}" for ef in EFS), "loss", "bytes", "mapped"], rows)
    asked = {recall: sides["embedd"].search(run.vectors, run.k, recall=recall, seconds=run.seconds) for recall in TARGETS}
    out["asked"] = {str(t): {"recall": run.truth.recall(a["ids"], run.k), "qps": qps(a, a["ids"])} for t, a in asked.items()}
    table("Recall asked for and got; the calibration before took "
          f"{run.costs['embedd'][-1]['calibrate_cpu_s']:.2f} s of CPU time", ["asked", "got", "QPS"],
          [[t, f"{a['recall']:.4f}", f"{a['qps']:,.0f}"] for t, a in out["asked"].items()])
    a = sides["embedd"].search(run.vectors, run.k, queries=min(200, len(run.vectors.queries)), plan="exact", seconds=run.seconds)
    recall = first(run.truth, 200).recall(a["ids"], run.k)
    out["exact"] = {"recall": recall, "ms": a["cpu_ns"] / a["passes"] / len(a["ids"]) / 1e6}
    print(f"\nExact search: recall@{run.k} {recall:.4f}, {out['exact']['ms']:.2f} ms of CPU time a query")
    for name in ("embedd_fast", "embedd_lean"):
        run.drop(name)
    return out


def neighbors(run):
    """The k nearest others of every vector, at the first ef whose recall is 0.99, beside an exact search of faiss."""
    side, n, k = run.side("embedd"), run.vectors.n, run.k
    rows = None if n <= 200_000 else numpy.sort(numpy.random.default_rng(2).choice(n, 5000, replace=False)).tolist()
    flat = run.side("faiss_flat")
    with tempfile.TemporaryDirectory(dir=run.cache) as folder:
        file = Path(folder) / "ids"
        exact = flat.ask("nearest", file=str(file), n=n, k=k, rows=rows, threads=run.threads[-1])
        asked = numpy.arange(n) if rows is None else numpy.array(rows)
        true = [[i for i in near if i != row][:k] for row, near in zip(asked, numpy.fromfile(file, numpy.uint32).reshape(-1, k + 1).tolist())]
        scale = n / len(asked)
        out = {"k": k, "faiss_exact": {"cpu_s": scale * exact["cpu_ns"] / 1e9, "wall_s": scale * exact["wall_ns"] / 1e9, "rows": len(asked)}, "embedd": []}
        for ef in (18, 20, 24, 32, 48, 64):
            cost = side.ask("neighbors", file=str(file), n=n, k=k, ef=ef, threads=1)
            found = numpy.fromfile(file, numpy.uint32).reshape(n, k)[asked].tolist()
            recall = sum(len(set(f) & set(t)) for f, t in zip(found, true)) / (k * len(asked))
            out["embedd"].append({"ef": ef, "recall": recall, "cpu_s": cost["cpu_ns"] / 1e9, "wall_s": cost["wall_ns"] / 1e9})
            if recall >= 0.99:
                break
        both = side.ask("neighbors", file=str(file), n=n, k=k, ef=ef, threads=run.threads[-1])
        out["embedd_threads"] = {"ef": ef, "threads": run.threads[-1], "cpu_s": both["cpu_ns"] / 1e9, "wall_s": both["wall_ns"] / 1e9}
    run.drop("faiss_flat")
    note = "" if rows is None else f", from {len(asked):,} rows"
    table(f"The {k} nearest others of all {n:,} vectors", ["", "recall", "CPU s", "wall s"],
          [[f"embedd, ef {e['ef']}, 1 thread", f"{e['recall']:.4f}", f"{e['cpu_s']:.2f}", f"{e['wall_s']:.2f}"] for e in out["embedd"]]
          + [[f"embedd, ef {ef}, {run.threads[-1]} threads", "", f"{both['cpu_ns'] / 1e9:.2f}", f"{both['wall_ns'] / 1e9:.2f}"],
             [f"faiss exact, {run.threads[-1]} threads{note}", "1", f"{out['faiss_exact']['cpu_s']:.1f}", f"{out['faiss_exact']['wall_s']:.1f}"]])
    return out


def filters(run):
    """The planner against each of its plans: time, and recall against the truth under the filter."""
    side, vectors, random = run.side("embedd"), run.vectors, numpy.random.default_rng(3)
    sets = {f"random {rate:g}": numpy.sort(random.choice(vectors.n, max(1, round(rate * vectors.n)), replace=False)) for rate in RATES}
    if run.corpus:
        papers = metadata(run.corpus, vectors.n)
        days = numpy.array([day for _, day in papers])
        for category in CATEGORIES:
            sets[category] = numpy.array([i for i, (c, _) in enumerate(papers) if c == category], numpy.int64)
        ordered = numpy.sort(days)
        for share in (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001):
            day = ordered[int((1 - share) * (len(days) - 1))]
            sets[f"listed since {day}"] = numpy.flatnonzero(days >= day)
    sets = {name: ids.astype(numpy.int64) for name, ids in sets.items() if len(ids)}
    truth = truths(vectors, sets, run.cache)
    out, rows = [], []
    with tempfile.TemporaryDirectory(dir=run.cache) as folder:
        for name, ids in sets.items():
            few = 200 if len(ids) >= 0.05 * vectors.n else 20  # for the walk goes everywhere where next to nothing passes
            run.say(f"filter {name}, {len(ids):,} labels")
            file = Path(folder) / "labels"
            ids.astype(numpy.uint32).tofile(file)
            how = {"filter": str(file), "recall": run.filter_recall}
            one = {"filter": name, "labels": len(ids), "share": len(ids) / vectors.n, "us": {p: [] for p in PLANS}, "recall": {}}
            for _ in range(min(3, run.rounds)):
                for plan in PLANS:
                    a = side.search(vectors, run.k, queries=few, plan=plan, seconds=min(run.seconds, 0.1), **how)
                    one["us"][plan].append(1e6 / qps(a, a["ids"]))
                    one["recall"][plan] = first(truth[name], few).recall(a["ids"], run.k)
            one["recall"]["auto"] = truth[name].recall(side.search(vectors, run.k, plan="auto", **how)["ids"], run.k)
            one["ratio"] = statistics.median(a / min(g, s) for a, g, s in zip(*(one["us"][p] for p in PLANS)))
            out.append(one)
            rows.append([name, f"{len(ids):,}", f"{one['share']:.4f}", *(f"{one['recall'][p]:.4f}" for p in PLANS),
                         *(f"{statistics.median(one['us'][p]):,.0f}" for p in PLANS), f"{one['ratio']:.2f}"])
    table(f"Filters, recall {run.filter_recall:g} asked for: recall@{run.k} and µs of CPU time a query; planner by the better of the two",
          ["filter", "labels", "share", *(f"recall {p}" for p in PLANS), *(f"µs {p}" for p in PLANS), "ratio"], rows)
    return out


def snapshot(run):
    """From opening a snapshot to the first right answer, in new processes."""
    side, out, rows = run.side("embedd"), {"opens": []}, []
    right = side.search(run.vectors, run.k, ef=64)["ids"][0].tolist()
    with tempfile.TemporaryDirectory(dir=run.cache) as folder:
        file = Path(folder) / "snapshot"
        out["save_s"] = side.ask("save", file=str(file))["wall_ns"] / 1e9
        out["bytes"] = file.stat().st_size
        for cold in (False, True) * run.rounds:
            child = Child("embedd", run.worker, run.vectors)
            a = child.ask("open", file=str(file), queries=run.vectors.span(), k=run.k, ef=64, cold=cold)
            same = numpy.array_equal(numpy.array(right), labels(a["ids"], run.k)[0])
            out["opens"].append({"cold": cold, "open_ms": a["open_ns"] / 1e6, "answer_ms": a["wall_ns"] / 1e6, "cpu_ms": a["cpu_ns"] / 1e6, "right": same})
            child.stop()
    for cold in (False, True):
        some = [o for o in out["opens"] if o["cold"] == cold]
        rows.append(["not in the page cache" if cold else "in the page cache", *(f"{statistics.median(o[f] for o in some):.1f}" for f in ("open_ms", "answer_ms", "cpu_ms")),
                     f"{max(o['answer_ms'] for o in some):.1f}", "yes" if all(o["right"] for o in some) else "NO"])
    table(f"Opening a snapshot of {out['bytes'] / 1e6:,.0f} MB (saved in {out['save_s']:.2f} s)",
          ["file", "open, ms", "to the first answer", "CPU ms", "at most", "right"], rows)
    return out


def writers(run):
    """Latency of searches alone and while two writers insert, in a process that has 4/5 of the vectors at first."""
    child, vectors, out, rows = Child("embedd", run.worker, run.vectors), run.vectors, {}, []
    start = vectors.n * 4 // 5
    child.build(vectors, start, run.threads[-1], run.m, run.ef_construction)
    middle = (start + vectors.n) // 2
    for name, pause, span in (("one after the other", 0, (start, middle)), ("every millisecond", 1000, (middle, vectors.n))):
        a = child.ask("writers", queries=vectors.span(), k=run.k, ef=64, seconds=10 * run.seconds, n=span[0], until=span[1], threads=2, pause_us=pause)
        out[name] = {**a, "ratio_p99": a["busy"]["p99_us"] / a["idle"]["p99_us"]}
        for when in ("idle", "busy"):
            rows.append([f"{name}, {when}", a[when]["count"], *(f"{a[when][f]:,.0f}" for f in ("p50_us", "p99_us", "p999_us", "max_us")),
                         f"{out[name]['ratio_p99']:.2f}" if when == "busy" else ""])
        print(f"\n{a['inserted']:,} vectors inserted in {a['seconds']:.1f} s beside searches {name}")
    child.ask("check")
    child.stop()
    table("Searches while two writers insert, wall time, µs (ef 64)", ["searches", "count", "p50", "p99", "p99.9", "most", "p99 by idle"], rows)
    return out


def churn(run):
    """Every vector deleted and inserted again, run.churn times, beside a fresh build."""
    side, vectors, rows = run.side("embedd"), run.vectors, []
    side.build(vectors, vectors.n, run.threads[-1], run.m, run.ef_construction, index="fresh")
    out = side.ask("churn", queries=vectors.span(), k=run.k, ef=64, n=vectors.n, rounds=run.churn, share=0.05, threads=run.threads[-1])
    side.ask("check")
    out["at"] = []
    for ef in EFS:
        found = {"": [], "fresh": []}
        for _ in range(run.rounds):
            for index, answers in found.items():
                answers.append(side.search(vectors, run.k, ef=ef, index=index, seconds=run.seconds))
        recall = {i: run.truth.recall(a[0]["ids"], run.k) for i, a in found.items()}
        ratio = statistics.median(qps(a, vectors.queries) / qps(b, vectors.queries) for a, b in zip(found[""], found["fresh"]))
        out["at"].append({"ef": ef, "recall": recall[""], "fresh": recall["fresh"], "qps_ratio": ratio})
        rows.append([ef, f"{recall['fresh']:.4f}", f"{recall['']:.4f}", f"{recall[''] - recall['fresh']:+.4f}", f"{ratio:.3f}"])
    table(f"After every vector was deleted and inserted again {run.churn} times; Check found nothing, {out['tombstones']} tombstones left",
          ["ef", "recall fresh", "recall churned", "difference", "QPS by fresh"], rows)
    table("Times meanwhile, µs", ["", "count", "mean", "p50", "p99", "p99.9", "most"],
          [[name, a["count"], *(f"{a[f]:,.1f}" for f in ("mean_us", "p50_us", "p99_us", "p999_us", "max_us"))]
           for name, a in (("a delete", out["deletes"]), ("consolidation of 5 %", out["consolidate"]), ("a search, nothing beside it", out["idle_reader"]),
                           ("a search while it is consolidated", out["reader"]), ("of which without CPU, nothing beside it", out["idle_blocked"]),
                           ("of which without CPU, while it is consolidated", out["blocked"]))])
    print(f"\nAn insertion: {out['insert_cpu_us']:.0f} µs of CPU time")
    run.drop("embedd")
    return out


SECTIONS = {"modes": modes, "neighbors": neighbors, "filters": filters, "snapshot": snapshot, "writers": writers, "churn": churn}


def qps(answer, queries):
    return answer["passes"] * len(queries) * 1e9 / answer["cpu_ns"]


def first(truth, n):
    return type(truth)(truth.ids[:n], truth.scores[:n])
