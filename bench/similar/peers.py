#!/usr/bin/env python3
"""Measures what a script in Python takes today for the graph of the nearest neighbours of all papers, and for near-duplicates, with vectors given.

README.md beside this file says what is measured and how. Needs Python 3.11 or newer and nothing else to start: the peers are
installed into a virtual environment of their own, in which the script then runs again. Each measurement is a process of its own.
"""

import argparse
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEERS = {
    "flat": "faiss IndexFlatIP: all with all, exact",
    "hnsw": "faiss IndexHNSWFlat, M 16",
    "ivf": "faiss IndexIVFFlat",
    "mining": "sentence-transformers util.paraphrase_mining_embeddings",
}
SAMPLE = 2000  # rows that a setting is tried on
GRID = [round(10 * 2 ** (i / 2)) for i in range(15)]  # ef and nprobe: 10 to 1280


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def fail(message):
    say(f"bench-similar: {message}")
    sys.exit(1)


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="example: peers.py vectors.npy --out figures.json")
    p.add_argument("vectors", type=Path, help="array of NumPy, as embedd export vectors writes it, or raw float32, as embedd bench vectors does")
    p.add_argument("--dim", type=int, default=384, help="values of a vector, for raw float32 (default: %(default)s)")
    p.add_argument("-n", type=int, default=0, help="the first N vectors alone")
    p.add_argument("--peers", default=",".join(PEERS), help="which: %(default)s; flat is always there, since recall is measured by it")
    p.add_argument("-k", type=int, default=10, help="neighbours of each paper (default: %(default)s)")
    p.add_argument("--recall", type=float, default=0.99, help="recall that hnsw and ivf are set to (default: %(default)s)")
    p.add_argument("--top-k", type=int, default=100, help="top_k of mining, which is its default (default: %(default)s)")
    p.add_argument("--threshold", type=float, default=0.9, help="the cosine from which a pair counts as near-duplicates (default: %(default)s)")
    p.add_argument("--threads", type=int, default=os.cpu_count(), help="(default: as many as there are: %(default)s)")
    p.add_argument("--truth", type=Path, help="where the exact neighbours are kept, an .npz of rows and scores; they are read from there if they are of these vectors")
    p.add_argument("--out", type=Path, help="write the figures there as well, as JSON")
    p.add_argument("--venv", type=Path, default=ROOT / ".embedd" / "bench-similar", help="where the peers are installed (default: %(default)s)")
    p.add_argument("--child", help=argparse.SUPPRESS)
    return p.parse_args()


def install(venv):
    """Makes the environment, and runs this script again in it."""
    python = venv / "bin" / "python"
    if Path(sys.prefix).resolve() == venv.resolve():
        return
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    wanted = (HERE / "requirements.txt").read_text()
    mark = venv / "requirements.txt"
    if not mark.exists() or mark.read_text() != wanted:
        say("installing the peers into", venv)
        if subprocess.run([str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "-r", str(HERE / "requirements.txt")]).returncode != 0:
            fail("pip could not install bench/similar/requirements.txt; see above")
        mark.write_text(wanted)
    os.execv(python, [str(python), str(Path(__file__).resolve()), *sys.argv[1:]])


def load(a):
    import numpy as np

    if a.vectors.suffix == ".npy":
        x = np.load(a.vectors, mmap_mode="r")
    else:
        x = np.memmap(a.vectors, dtype="<f4", mode="r").reshape(-1, a.dim)
    x = np.array(x[: a.n or len(x)], dtype=np.float32, order="C")
    if len(x) < SAMPLE:
        fail(f"{a.vectors} has {len(x)} vectors; too few to measure anything")
    worst = float(np.abs(np.linalg.norm(x, axis=1) - 1).max())
    if worst > 1e-3:
        fail(f"{a.vectors} has vectors that are not of length 1, by {worst:.3g}")
    return x


class Clock:
    """Seconds, and seconds of the processor, of a part of the work."""

    def __init__(self, parts, name):
        self.parts, self.name = parts, name

    def __enter__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *_):
        self.parts[self.name] = {"seconds": time.perf_counter() - self.wall, "cpu_seconds": time.process_time() - self.cpu}


def others(rows, scores, k):
    """The k nearest without the paper itself."""
    import numpy as np

    keep = rows != np.arange(len(rows))[:, None]
    keep[np.all(keep, axis=1), -1] = False  # where the paper itself is behind k+1 copies of it
    return rows[keep].reshape(-1, k), scores[keep].reshape(-1, k)


def recall(rows, scores, truth_rows, truth_scores):
    """The share of the true neighbours that were found, by their ids; and that of those found that are as near as the true last one."""
    import numpy as np

    same = sum(len(np.intersect1d(a, b, assume_unique=True)) for a, b in zip(rows, truth_rows))
    near = scores >= truth_scores[:, -1:] - 1e-6
    return same / truth_rows.size, float(near.mean())


def tune(a, x, truth, search):
    """The settings of the grid from the least one on whose recall on a sample is as wanted."""
    import numpy as np

    sample = np.random.default_rng(1).choice(len(x), SAMPLE, replace=False)
    for setting in GRID:
        rows, scores = search(x[sample], setting)
        keep = rows != sample[:, None]
        keep[np.all(keep, axis=1), -1] = False
        rows, scores = rows[keep].reshape(-1, a.k), scores[keep].reshape(-1, a.k)
        if recall(rows, scores, truth["rows"][sample], truth["scores"][sample])[0] >= a.recall:
            return GRID[GRID.index(setting) :]
    return []


def graph(a, x, name, out):
    """faiss: builds an index, and asks it for the neighbours of all."""
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(a.threads)
    dim = x.shape[1]
    truth = np.load(a.truth) if name != "flat" else None
    best = None
    for choice in {"flat": [0], "hnsw": [40, 100, 200], "ivf": [1, 4]}[name]:
        parts, found = {}, {}
        with Clock(parts, "build"):
            if name == "flat":
                index = faiss.IndexFlatIP(dim)
            elif name == "hnsw":
                index = faiss.IndexHNSWFlat(dim, 16, faiss.METRIC_INNER_PRODUCT)
                index.hnsw.efConstruction = choice
                found["ef_construction"] = choice
            else:
                lists = int(choice * math.sqrt(len(x)))
                index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
                index.train(x)
                found["lists"] = lists
            index.add(x)

        def search(queries, setting):
            if name == "hnsw":
                index.hnsw.efSearch = setting
            elif name == "ivf":
                index.nprobe = setting
            scores, rows = index.search(queries, a.k + 1)
            return rows, scores

        for setting in [0] if name == "flat" else tune(a, x, truth, search):
            with Clock(parts, "search"):
                rows, scores = search(x, setting)
            rows, scores = others(rows, scores, a.k)
            if name == "flat":
                np.savez(a.truth, rows=rows.astype(np.int32), scores=scores, of=fingerprint(x))
                found["recall"], found["recall_with_ties"] = 1.0, 1.0
                break
            found["ef_search" if name == "hnsw" else "probes"] = setting
            found["recall"], found["recall_with_ties"] = recall(rows, scores, truth["rows"], truth["scores"])
            if found["recall"] >= a.recall:  # of all, where the sample was lucky
                break
        if found.get("recall", 0) < a.recall:
            say(f"{name} {found}: no setting up to {GRID[-1]} has a recall of {a.recall}")
            continue
        found |= {"parts": parts} | {u: sum(p[u] for p in parts.values()) for u in ("seconds", "cpu_seconds")}
        say(f"{name}: {found}")
        if best is None or found["cpu_seconds"] < best["cpu_seconds"]:
            best = found
        del index
    out.update(best or {"missing": f"no setting has a recall of {a.recall}"})


def mining(a, x, out):
    import torch
    from sentence_transformers import util

    torch.set_num_threads(a.threads)
    parts = {}
    with Clock(parts, "mining"):
        pairs = util.paraphrase_mining_embeddings(torch.from_numpy(x), top_k=a.top_k)
    out.update(parts["mining"] | {"pairs": len(pairs), "least": pairs[-1][0], "pairs_from_threshold": sum(p[0] >= a.threshold for p in pairs)})


def fingerprint(x):
    import hashlib

    return hashlib.sha256(x.tobytes()).hexdigest()


def peak():
    """The most memory that this process had at once, in MB; getrusage would count the process that it was forked from."""
    return int(re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.M).group(1)) // 1024


def child(a):
    x, out = load(a), {}
    if a.child == "mining":
        mining(a, x, out)
    else:
        graph(a, x, a.child, out)
    out["rss_mb"] = peak()
    print(json.dumps(out))


def true_pairs(a):
    """How many pairs there are from the threshold on, by the exact neighbours: fewer than all, where a paper has more than k of them."""
    import numpy as np

    truth = np.load(a.truth)
    at = truth["scores"] >= a.threshold
    left = np.repeat(np.arange(len(at))[:, None], at.shape[1], axis=1)[at]
    right = truth["rows"][at]
    return len(set(zip(np.minimum(left, right).tolist(), np.maximum(left, right).tolist()))), int(at.all(axis=1).sum())


def processor():
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    name = re.search(r"^model name\s*: (.*)$", info, re.M)
    return name.group(1) if name else platform.machine()


def main():
    a = arguments()
    wanted = a.peers.split(",")
    for name in wanted:
        if name not in PEERS:
            fail(f"--peers: {name!r} is none; there are {', '.join(PEERS)}")
    install(a.venv)
    if a.child:
        child(a)
        return
    import faiss
    import numpy as np
    import sentence_transformers
    import torch

    x = load(a)
    n, of = len(x), fingerprint(x)
    del x
    with tempfile.TemporaryDirectory() as folder:
        given = a.truth is not None
        a.truth = a.truth or Path(folder) / "truth.npz"
        flat = "flat" in wanted or not (given and a.truth.exists() and str(np.load(a.truth)["of"]) == of)
        load_average = os.getloadavg()[0]
        if load_average > 0.5:
            say(f"bench-similar: the load average is {load_average:.2f}: something else is running")
        figures = {}
        for name in (["flat"] if flat else []) + [p for p in wanted if p != "flat"]:
            say(f"{PEERS[name]} …")
            threads = {v: str(a.threads) for v in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
            command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--child", name, "--truth", str(a.truth)]
            done = subprocess.run(command, stdout=subprocess.PIPE, env=os.environ | threads)
            if done.returncode != 0:
                fail(f"{name} ended with status {done.returncode}")
            figures[name] = json.loads(done.stdout.splitlines()[-1])
        pairs, full = true_pairs(a)
    print(f"{n} vectors, {a.threads} threads, {processor()}, load {load_average:.2f} at the start")
    print(f"{'':8} {'seconds':>9} {'CPU s':>9} {'RSS MB':>8}  recall, settings")
    for name, f in figures.items():
        if "missing" in f:
            print(f"{name:8} {f['missing']}")
            continue
        about = {k: v for k, v in f.items() if k not in ("seconds", "cpu_seconds", "rss_mb", "parts", "recall", "recall_with_ties")}
        if "recall" in f:
            about = {"recall": round(f["recall"], 4), "with ties": round(f["recall_with_ties"], 4)} | about | {k: round(v["seconds"], 1) for k, v in f["parts"].items()}
        print(f"{name:8} {f['seconds']:9.1f} {f['cpu_seconds']:9.1f} {f['rss_mb']:8d}  {', '.join(f'{k} {v}' for k, v in about.items())}")
    print(f"pairs from {a.threshold} on among the {a.k} nearest: {pairs}; {full} papers have no fewer than {a.k}")
    result = {"vectors": n, "of": of, "threads": a.threads, "cpu": processor(), "load": load_average, "k": a.k, "recall": a.recall, "threshold": a.threshold, "pairs": pairs, "peers": figures,
              "versions": {"faiss": faiss.__version__, "sentence_transformers": sentence_transformers.__version__, "torch": torch.__version__, "numpy": np.__version__}}
    if a.out:
        a.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


main()
