"""The vectors that are measured on, and the true neighbours. Needs numpy."""

import gzip
import hashlib
import json
import subprocess
from pathlib import Path

import numpy

DIM = 384
QUERIES = 1000  # held out: the last rows of a file
TRUE = 100  # neighbours kept of each query
SPARE = 28  # more than that are compared again in float64


class Vectors:
    """A file of float32 rows. The base is its first n rows, the queries are its last ones; a vector's id is its row."""

    def __init__(self, name, path, n=0):
        self.name, self.path = name, Path(path)
        rows = self.path.stat().st_size // (4 * DIM)
        self.all = numpy.memmap(self.path, numpy.float32, "r", shape=(rows, DIM))
        self.first_query = rows - QUERIES
        self.n = min(n, self.first_query) if n else self.first_query
        if self.n < 1000:
            raise RuntimeError(f"{path} has {rows} rows; {QUERIES} are held out, and 1,000 more are needed")
        self.base, self.queries = self.all[: self.n], self.all[self.first_query :]
        digest = hashlib.sha256()
        for part in (self.base, self.queries):
            for i in range(0, len(part), 1 << 16):
                digest.update(part[i : i + (1 << 16)])
        self.hash = digest.hexdigest()[:16]

    def span(self, queries=QUERIES):
        return [self.first_query, self.first_query + queries]

    def describe(self, truth):
        """Cosines of neighbours and the local intrinsic dimension (Levina and Bickel's estimate from 100 neighbours, mean)."""
        cosines = truth.scores
        r = numpy.sqrt(numpy.maximum(2 - 2 * cosines, 1e-12))
        lid = -1 / numpy.mean(numpy.log(r[:, :-1] / r[:, -1:]), axis=1)
        return {
            "name": self.name,
            "hash": self.hash,
            "n": self.n,
            "dim": DIM,
            "queries": len(self.queries),
            **{f"cos@{k}": round(float(cosines[:, k - 1].mean()), 4) for k in (1, 10, 100)},
            "lid": round(float(lid.mean()), 1),
        }


def arxiv(corpus, path, embedd):
    """Encodes the corpus unless the file is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([str(embedd), "bench", "vectors", str(corpus), "--out", str(path)], check=True)
    return path


def metadata(corpus, n):
    """The primary category and the day of the first n papers of a corpus, in its order."""
    out = []
    for part in sorted(Path(corpus).glob("corpus*.jsonl*")):
        with gzip.open(part, "rt") if part.suffix == ".gz" else open(part) as f:
            for line in f:
                paper = json.loads(line)["metadata"]
                out.append((paper["categories"][0], paper["listed"]))
                if len(out) == n:
                    return out
    raise RuntimeError(f"{corpus} has {len(out)} papers, not {n}")


# The generator of synthetic vectors: a mixture of Gaussians in a small latent space, through a random network, with noise. The
# numbers are chosen for the figures of describe at 200,000 and at 1,000,000: cos@1 0.80 and 0.82, cos@10 0.75 and 0.79, a local
# intrinsic dimension of 12 and 20.
LATENT, HIDDEN, CLUSTERS, SPREAD, NOISE = 32, 256, 1300, 0.58, 0.25


def synthetic(n, path, seed=1):
    """Writes n vectors and QUERIES more; equal arguments give equal bytes with one version of numpy and kind of CPU."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    random = numpy.random.default_rng(seed)

    def normal(*shape, scale=1.0):
        return random.standard_normal(shape, dtype=numpy.float32) * numpy.float32(scale)

    centres = normal(CLUSTERS, LATENT)
    into, out = normal(LATENT, HIDDEN, scale=LATENT**-0.5), normal(HIDDEN, DIM, scale=HIDDEN**-0.5)
    part = path.with_suffix(".part")
    with part.open("wb") as f:
        for done in range(0, n + QUERIES, 50_000):
            rows = min(50_000, n + QUERIES - done)
            latent = centres[random.integers(CLUSTERS, size=rows)] + normal(rows, LATENT, scale=SPREAD)
            x = unit(numpy.tanh(numpy.tanh(latent @ into) @ out))
            unit(x + normal(rows, DIM, scale=NOISE * DIM**-0.5)).tofile(f)
    part.rename(path)
    return path


def unit(x):
    return x / numpy.linalg.norm(x, axis=1, keepdims=True)


class Truth:
    """Of each query the TRUE nearest of the base, or as many as there are: ids and scores, best first, ties by id."""

    def __init__(self, ids, scores):
        self.ids, self.scores = ids, scores

    def recall(self, found, k):
        """The share of the true k that was found, by id."""
        hits = sum(len(set(f[:k].tolist()) & set(t[:k].tolist())) for f, t in zip(found, self.ids))
        wanted = sum(min(k, int((t >= 0).sum())) for t in self.ids)
        return hits / wanted if wanted else 1.0

    def tie_recall(self, found, k, vectors):
        """The share that was found as near as the true k-th, within 1e-6: copies of a vector stand for each other."""
        hits = 0
        for f, q, scores in zip(found, vectors.queries, self.scores):
            f = numpy.unique(f[:k][f[:k] < vectors.n])
            hits += min(k, int((vectors.base[f].astype(numpy.float64) @ q.astype(numpy.float64) >= scores[k - 1] - 1e-6).sum()))
        return hits / (k * len(found))


def truths(vectors, filters, folder):
    """The Truth without a filter and with each of filters (arrays of ids by name), from the folder where they are known."""
    out, missing = {}, {}
    for name, ids in {"": None, **filters}.items():
        key = hashlib.sha256(b"all" if ids is None else ids.tobytes()).hexdigest()[:16]
        file = folder / f"truth-{vectors.hash}-{key}.npz"
        if file.exists():
            saved = numpy.load(file)
            out[name] = Truth(saved["ids"], saved["scores"])
        else:
            missing[name] = (ids, file, [])
    if missing:
        block = max(1, min(100, (256 << 20) // (4 * vectors.n)))
        for i in range(0, len(vectors.queries), block):
            queries = vectors.queries[i : i + block]
            scores = queries @ vectors.base.T
            for ids, _, rows in missing.values():
                for q, row in zip(queries, scores):
                    rows.append(best(q, row, ids, vectors.base))
        for name, (_, file, rows) in missing.items():
            out[name] = Truth(numpy.stack([ids for ids, _ in rows]), numpy.stack([s for _, s in rows]))
            folder.mkdir(parents=True, exist_ok=True)
            numpy.savez(file, ids=out[name].ids, scores=out[name].scores)
    return out


def best(query, scores, ids, base):
    """The ids and scores of the TRUE best, filled up with -1: chosen by float32 with some to spare, then compared in float64."""
    if ids is not None:
        scores = scores[ids]
    wanted = TRUE + SPARE
    some = numpy.argpartition(-scores, wanted)[:wanted] if len(scores) > wanted else numpy.arange(len(scores))
    if ids is not None:
        some = ids[some]
    exact = base[some].astype(numpy.float64) @ query.astype(numpy.float64)
    order = numpy.lexsort((some, -exact))[:TRUE]
    fill = TRUE - len(order)
    return numpy.append(some[order], numpy.full(fill, -1)).astype(numpy.int64), numpy.append(exact[order], numpy.full(fill, -2.0))
