#!/usr/bin/env python3
"""Measures embedd's index against hnswlib, faiss, usearch and the index that embedd began with, on the same vectors.

README.md beside this file says what is measured and how. Needs Linux, Python 3.11 or newer, Go and a C++ compiler: the peers are
installed into a virtual environment of their own, in which the script then runs again.
"""

import argparse
import hashlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True  # the modules beside this file leave nothing there
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
K = 10
DEFAULT_ENGINES = "embedd,first,hnswlib,faiss,faiss_sq8,usearch,usearch_bf16,usearch_i8"
SECTIONS = "peers,modes,neighbors,filters,snapshot,writers,churn"


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def fail(message):
    say(f"bench-ann: {message}")
    sys.exit(1)


def options():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog="README.md beside the script says more.")
    data = Path(os.environ.get("EMBEDD_TEST_DATA") or ROOT.parent / "shared" / "data") / "arxiv"
    p.add_argument("corpus", nargs="?", type=Path, default=data, help="folder of the arXiv corpus (default: %(default)s)")
    p.add_argument("--vectors", type=Path, metavar="FILE", help="its vectors, raw float32, written by embedd bench vectors if absent")
    p.add_argument("--synthetic", type=int, nargs="?", const=1_000_000, metavar="N", help="measure on N made-up vectors instead (1,000,000)")
    p.add_argument("-n", "--n", type=int, default=0, metavar="N", help="only the first N vectors")
    p.add_argument("--only", default=SECTIONS, metavar="LIST", help="what is measured (%(default)s)")
    p.add_argument("--engines", default=DEFAULT_ENGINES, metavar="LIST", help="sides of the section peers (%(default)s; also embedd_fast, embedd_lean, embedd_bit, faiss_pq)")
    p.add_argument("--memory", choices=("residual", "fast", "lean"), default="residual", help="embedd's memory mode among the peers")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=0.5, help="least time of one measurement (%(default)s)")
    p.add_argument("--threads", default="1,2", metavar="LIST", help="threads of the builds; the last one is searched (%(default)s)")
    p.add_argument("--m", type=int, default=16, metavar="M")
    p.add_argument("--ef-construction", type=int, default=200, metavar="EF")
    p.add_argument("--max-ef", type=int, default=2048, metavar="EF", help="largest ef that is tried (%(default)s)")
    p.add_argument("--filter-recall", type=float, default=0.99, metavar="R", help="recall that filtered queries ask for (%(default)s)")
    p.add_argument("--churn", type=int, default=10, metavar="TIMES", help="how often every vector is deleted and inserted again (%(default)s)")
    p.add_argument("--reuse", action="store_true", help="keep what the peers built, and its cost, and take it where it is there")
    p.add_argument("--quick", action="store_true", help="a smoke test: everything on 5,000 made-up vectors")
    p.add_argument("--out", type=Path, metavar="FILE", help="write all figures as JSON")
    p.add_argument("--cache", type=Path, default=ROOT / ".embedd" / "bench-ann", metavar="DIR", help="(default: %(default)s)")
    o = p.parse_args()
    if o.quick:
        o.synthetic, o.rounds, o.seconds, o.churn, o.max_ef = 5000, 2, 0.02, 2, 512
    o.only, o.engines, o.threads = o.only.split(","), o.engines.split(","), [int(t) for t in o.threads.split(",")]
    if unknown := set(o.only) - set(SECTIONS.split(",")):
        p.error(f"no section {', '.join(unknown)}; there are {SECTIONS}")
    if o.memory != "residual":
        o.engines = [f"embedd_{o.memory}" if e == "embedd" else e for e in o.engines]
    return o


def enter_venv(folder):
    """Runs this script again inside of the virtual environment in folder, after making it if need be."""
    if sys.version_info < (3, 11):
        fail(f"Python {platform.python_version()} is too old; needs 3.11 or newer")
    wanted, stamp, python = (HERE / "requirements.txt").read_bytes(), folder / "bench-ann.stamp", folder / "bin" / "python"
    installed = stamp.exists() and stamp.read_bytes() == wanted
    if installed and Path(sys.prefix).resolve() == folder.resolve():
        return
    if not installed:
        say(f"installing the peers into {folder} (a minute or two: hnswlib is compiled)")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, stdout=sys.stderr)
        # Not from pip's cache either: it may hold what another kind of CPU was native to.
        command = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-binary", "hnswlib", "--no-cache-dir"]
        environment = {k: v for k, v in os.environ.items() if k != "HNSWLIB_NO_NATIVE"}
        if subprocess.run([*command, "-r", str(HERE / "requirements.txt")], env=environment, stdout=sys.stderr).returncode != 0:
            fail("pip could not install bench/ann/requirements.txt; see above")
        stamp.write_bytes(wanted)
    os.execv(str(python), [str(python), str(Path(__file__).resolve()), *sys.argv[1:]])


class Run:
    """What the sections share: the options, the vectors, the truth, and the engines that are built."""

    def __init__(self, o, vectors, worker):
        from data import truths

        self.__dict__.update(vars(o))
        self.k, self.vectors, self.worker, self.say = K, vectors, worker, say
        self.corpus = None if o.synthetic else o.corpus
        say("looking for the true neighbours")
        self.truth = truths(vectors, {}, o.cache)[""]
        self.sides, self.costs = {}, {}

    def side(self, name, threads=None):
        """The engine, built with each number of threads in a process of its own; the last one is kept."""
        from child import ENGINES, IN_GO, Child

        if name in self.sides:
            return self.sides[name]
        made_by = hashlib.sha256((HERE / "requirements.txt").read_bytes() + cpu()["name"].encode()).hexdigest()[:8]
        kept = self.cache / f"built-{self.vectors.hash}-{name}-{self.m}-{self.ef_construction}-{made_by}"
        if self.reuse and name not in IN_GO and kept.exists():
            child = Child(name, self.worker, self.vectors)
            child.ask("restore", engine=ENGINES[name]["engine"], file=str(kept), dim=self.vectors.all.shape[1])
            self.costs[name] = json.loads(kept.with_suffix(".json").read_text())
            say(f"took what {name} built at {self.costs[name][-1]['time']}, and its cost then")
        else:
            self.costs[name] = []
            for t in threads or self.threads[-1:]:
                if name in self.sides:
                    self.drop(name)
                say(f"building {name} with {t} threads")
                child = self.sides[name] = Child(name, self.worker, self.vectors)
                self.costs[name].append(child.build(self.vectors, self.vectors.n, t, self.m, self.ef_construction))
            if self.reuse and name not in IN_GO:
                child.ask("store", file=str(kept))
                kept.with_suffix(".json").write_text(json.dumps(self.costs[name]))
        self.sides[name] = child
        return child

    def drop(self, name):
        self.sides.pop(name).stop()


def peers(run):
    """Queries per second at a recall, and the cost of the build."""
    from child import VARIANTS
    from curves import TARGETS, Engine, measure, spread, table

    # One lock over everything: more threads are no help to the first index.
    sides = [run.side(name, run.threads[:1] if name == "first" else run.threads) for name in run.engines]
    engines = []
    for side in sides:
        say(f"looking for the settings of {side.name}")
        engines.append(Engine(side, VARIANTS.get(side.name), run.vectors, run.truth, run.k, run.max_ef))
    measure(engines, run.vectors, run.k, run.rounds, run.seconds, 1 if run.quick else 3, say)

    out, own = {}, next((e for e in engines if e.name.startswith("embedd")), None)
    speeds, ratios, builds = [], [], []
    for e in engines:
        out[e.name] = {"builds": run.costs[e.name], **e.report(run.rounds), "ratio": {}}
        at = {t: e.at(t, run.rounds) for t in TARGETS}
        floor = {t: bool(at[t]) and e.best[t].around[t][0] is None for t in TARGETS}
        speeds.append([e.name, *(("≥ " if floor[t] else "") + spread(at[t], "{:,.0f}".format) for t in TARGETS),
                       f"{e.ceiling:.4f}" if e.ceiling < TARGETS[-1] else f"> {TARGETS[-1]}"])
        if own and e is not own:
            for t in TARGETS:
                if at[t] and own.best[t]:
                    out[e.name]["ratio"][str(t)] = [a / b for a, b in zip(own.at(t, run.rounds), at[t])]
            ratios.append([e.name, *(spread(out[e.name]["ratio"].get(str(t)), "{:.2f}".format) for t in TARGETS)])
        costs = run.costs[e.name]
        last = costs[-1]
        speedup = f"{costs[0]['wall_s'] / last['wall_s']:.2f}" if len(costs) > 1 else "–"
        share = f"{run.costs[own.name][0]['cpu_s'] / costs[0]['cpu_s']:.3f}" if own else "–"
        builds.append([e.name, *(f"{c['cpu_s']:.1f} ({c['wall_s']:.1f}), {c['threads']} threads" for c in costs), *["–"] * (len(run.threads) - len(costs)),
                       speedup, share, *(f"{last[f]:,.0f}" for f in ("bytes_per_vector", "peak_bytes_per_vector")), f"{last['huge_share']:.0%}"])
    busy = sum(s["busy_rounds"] for e in out.values() for s in e["settings"])
    table(f"Queries per second of CPU time at recall@{run.k}, one thread; median of {run.rounds} rounds (least–most)",
          ["engine", *(str(t) for t in TARGETS), "ceiling"], speeds)
    if own:
        table(f"{own.name}'s by theirs, in the same round", ["engine", *(str(t) for t in TARGETS)], ratios)
    print(f"\n{busy} measurements had less than 1/1.1 of the CPU, however often they were tried" if busy else "\nWall and CPU time were within 10 % everywhere")
    table("Build: CPU s (wall s); wall time of one thread by that of all; embedd's CPU s by theirs; bytes a vector after and at most; in huge pages",
          ["engine", *(f"build {i + 1}" for i in range(len(run.threads))), "speed-up", "share", "bytes", "at most", "huge"], builds)
    table("All settings", ["engine", "setting", "recall", "with ties", "QPS of CPU time", "QPS of wall time"],
          [[name, " ".join(f"{k} {v}" for k, v in s.items() if k in ("ef", "k_factor")), f"{s['recall']:.4f}", f"{s['tie_recall']:.4f}",
            spread(s["qps"], "{:,.0f}".format), f"{statistics.median(s['wall_qps']):,.0f}"] for name, e in out.items() for s in e["settings"]])
    for name in run.engines:
        if name != "embedd":
            run.drop(name)
    return out


def cpu():
    fields = {k.strip(): v.strip() for k, v in (line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines())}
    wanted = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimd", "asimddp")
    flags = fields.get("flags", fields.get("Features", "")).split()
    return {"name": fields.get("model name", platform.machine()), "flags": [f for f in wanted if f in flags]}


def about(run):
    """What the figures hold for."""
    from importlib.metadata import version

    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    huge = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "commit": commit,
        "cpu": cpu()["name"],
        "flags": cpu()["flags"],
        "cores": len(os.sched_getaffinity(0)),
        "load": [round(l, 2) for l in os.getloadavg()],
        "huge_pages": huge.read_text().strip() if huge.exists() else "",
        "kernel": platform.release(),
        "go": subprocess.run(["go", "version"], cwd=ROOT, capture_output=True, text=True).stdout.strip(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("hnswlib", "faiss-cpu", "usearch", "numpy")},
        "options": {k: v if isinstance(v, (int, float, str, list, type(None))) else str(v) for k, v in vars(run).items()
                    if k in ("only", "engines", "rounds", "seconds", "threads", "m", "ef_construction", "max_ef", "filter_recall", "churn", "reuse")},
    }


def stolen():
    """Seconds of CPU time that the host of a virtual machine took."""
    return int(Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK")


def main():
    o = options()
    o.cache = o.cache.absolute()
    enter_venv(o.cache / "venv")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run_all(o)
    except KeyboardInterrupt:
        say("\nstopped")
        sys.exit(130)
    except (RuntimeError, subprocess.CalledProcessError) as e:
        fail(e)


def run_all(o):
    import bars
    import data

    worker = o.cache / "worker"
    say("building the worker")
    subprocess.run(["go", "build", "-o", str(worker), "./bench/ann/worker"], cwd=ROOT, check=True, stdout=sys.stderr)
    if o.synthetic:
        file = data.synthetic(o.synthetic, o.cache / f"synthetic-{o.synthetic}.f32")
        vectors = data.Vectors(f"synthetic {o.synthetic}", file, o.n)
    else:
        file = data.arxiv(o.corpus, o.vectors or o.cache / "arxiv.f32", ROOT / "bin" / "embedd")
        vectors = data.Vectors("arXiv", file, o.n)
    run = Run(o, vectors, worker)
    result = {"about": about(run), "data": vectors.describe(run.truth)}
    steal = stolen()
    a, d = result["about"], result["data"]
    print(f"{a['cpu']}, {a['cores']} cores ({', '.join(a['flags'])}); load {a['load'][0]}; huge pages {a['huge_pages']}; {a['go']}; {a['versions']}")
    print(f"{d['name']}: {d['n']:,} × {d['dim']}, {d['queries']} queries, k {K}; cos@1 {d['cos@1']}, cos@10 {d['cos@10']}, LID {d['lid']}; "
          f"M {o.m}, efConstruction {o.ef_construction}", flush=True)
    if a["load"][0] > 0.3 * a["cores"]:
        say(f"the load average is {a['load'][0]} on {a['cores']} cores: something else is running, and figures will be off")
    try:
        for name in SECTIONS.split(","):
            if name in o.only:
                say(f"-- {name}")
                result[name] = {"peers": peers, **bars.SECTIONS}[name](run)
                result["about"]["stolen_s"] = round(stolen() - steal, 2)
                if o.out:  # after each section, as a later one may be cut off
                    o.out.write_text(json.dumps(result, indent=1) + "\n")
    finally:
        for name in list(run.sides):
            run.drop(name)


if __name__ == "__main__":
    main()
