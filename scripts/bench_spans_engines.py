"""The engines for scripts/bench_spans.py: how each is built and asked, in processes of their own that are watched.

Run as a program, this file is such a process: it opens an index of infini-gram or tokengrams, asks what a file of JSON
tells it to ask, and writes how long each call took. Times are taken around the Python call, so they hold the binding's
conversion of lists, as they would for anyone who uses these packages; importing the package is not counted.
"""

import bisect
import ctypes
import importlib.util
import json
import mmap
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench_spans_text import MARK, UNKNOWN

HERE = Path(__file__).resolve()
BUILD_MEMORY_GIB = 4  # told to infini-gram: enough that it sorts each of these corpora in one part
PATIENCE_SECONDS = 3600  # for one command; infini-gram's merging has been seen not to end
MIB = 1 << 20


class Failed(Exception):
    """A measured process that did not do what it was asked; what it said last."""


# Watching

# A process inherits the peak memory of the one that started it, up to the moment it becomes another program. So a small
# process stands between this large one and the one that is measured.
WATCH = """
import json, os, sys, time
note, command = sys.argv[1], sys.argv[2:]
start = time.perf_counter()
child = os.fork()
if child == 0:
    try:
        os.execvp(command[0], command)
    finally:
        os._exit(127)
_, status, used = os.wait4(child, 0)
wall = time.perf_counter() - start
code = os.waitstatus_to_exitcode(status)
with open(note, "w") as out:
    json.dump({"code": code, "wall": wall, "user": used.ru_utime, "system": used.ru_stime,
               "peak_bytes": used.ru_maxrss * 1024}, out)
"""


def watched(command, core):
    """Runs a command on one core: (its standard output, seconds of wall, user and system time, its peak memory).

    Processes that it starts itself and waits for count as well.
    """
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "note"
        watch = ["taskset", "--cpu-list", str(core), sys.executable, "-I", "-S", "-c", WATCH, str(note)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
        running = subprocess.Popen([*watch, *map(str, command)], **pipes)
        try:
            said, complained = running.communicate(timeout=PATIENCE_SECONDS)
        except BaseException as error:
            os.killpg(running.pid, signal.SIGKILL)  # what it has started as well
            if isinstance(error, subprocess.TimeoutExpired):
                raise Failed(f"{Path(command[0]).name}: not done after {PATIENCE_SECONDS} s") from None
            raise
        used = json.loads(note.read_text()) if note.is_file() else {"code": running.returncode}
    if used.pop("code"):
        lines = (complained or said).decode(errors="replace").strip().splitlines()
        last = " / ".join(line[:200] for line in lines[-3:])
        raise Failed(f"{Path(command[0]).name}: {last or 'it failed and said nothing'}")
    return said.decode(), used


def files(folders):
    return [path for folder in folders for path in sorted(Path(folder).rglob("*")) if path.is_file()]


def size(folders):
    return sum(path.stat().st_size for path in files(folders))


def resident(path):
    """How many bytes of a file are in the page cache."""
    length = path.stat().st_size
    if length == 0:
        return 0
    with open(path, "rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        pages = np.zeros(-(-length // mmap.PAGESIZE), dtype=np.uint8)
        view = np.frombuffer(mapped, dtype=np.uint8)
        address, wanted = ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(length)
        failed = ctypes.CDLL(None).mincore(address, wanted, ctypes.c_void_p(pages.ctypes.data))
        del view
    return 0 if failed else int((pages & 1).sum()) * mmap.PAGESIZE


def forget(folders):
    """Drops the files of an index from the page cache; the share of their bytes that stayed there all the same."""
    for path in files(folders):
        with open(path, "rb") as opened:
            os.fsync(opened.fileno())  # pages not yet written cannot be dropped
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return sum(map(resident, files(folders))) / max(1, size(folders))


def remember(folders):
    """Brings the files of an index into the page cache."""
    for path in files(folders):
        with open(path, "rb") as opened:
            while opened.read(8 * MIB):
                pass


# Tributary


class Tributary:
    """The program under test, by its command line alone."""

    name = "Tributary"

    def __init__(self, binary, core, memory):
        self.binary, self.core = binary, core
        self.limit = ["--memory", memory] if memory else []

    def missing(self):
        """Why it cannot be measured, or None."""
        if not Path(self.binary).is_file():
            return "there is no binary of it: cargo build --release --bin tributary, or --tributary PATH"
        ran = subprocess.run([self.binary, "span", "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return "its binary knows no command `span`" if ran.returncode else None

    def _run(self, *words):
        said, used = watched([self.binary, "span", *words, "--json"], self.core)
        try:
            told = json.loads(said)
        except ValueError:
            raise Failed(f"tributary span {words[0]}: this is no JSON: {said[:200]!r}") from None
        told.pop("index", None)  # a place on this machine
        return told, used

    def build(self, corpus, index):
        shutil.rmtree(index, ignore_errors=True)
        return self._run("build", "--input", corpus, "--out", index, "--threads", 1, *self.limit)

    def append(self, corpus, index):
        return self._run("append", "--input", corpus, "--index", index, "--threads", 1, *self.limit)

    def stat(self, index):
        return self._run("stat", "--index", index)[0]

    def trace(self, index, lines, *words):
        return self._run("trace", "--index", index, "--input", lines, "--timings", "--threads", 1, *words)[0]

    def starts(self, index, lines):
        """Longest matches and counts at each word start, in place of spans."""
        return self.trace(index, lines, "--raw")


# The others: how they are built


def write_tokens(folder, documents, encode, dtype):
    """Documents in infini-gram's form, each behind a mark. Given these, it skips its own step of making tokens, and
    with it the import of `transformers`, which it needs there and does not declare."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark = b"\xFF" * (1 if dtype == "u8" else 2)
    place = told = 0
    with (
        open(folder / "tokenized.0", "wb") as tokens,
        open(folder / "offset.0", "wb") as offsets,
        open(folder / "metadata.0", "w") as metadata,
        open(folder / "metaoff.0", "wb") as metadata_offsets,
    ):
        for path, text in documents:
            data = mark + encode(text)
            tokens.write(data)
            offsets.write(place.to_bytes(8, "little"))
            place += len(data)
            line = json.dumps({"path": path}) + "\n"
            metadata.write(line)
            metadata_offsets.write(told.to_bytes(8, "little"))
            told += len(line)
    return place


def encoder(vocabulary, dtype):
    if dtype == "u8":
        return str.encode
    return lambda text: np.array(vocabulary.ids(text), dtype="<u2").tobytes()


def build_infini_gram(folder, dtype, core):
    """The package's own command. One core and one part: with several parts it sorts long repeats wrongly."""
    nothing = folder / "no-input"
    nothing.mkdir(exist_ok=True)
    # Its default of 1,048,576 open files is refused where the hard limit is lower.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most_files = 1 << 20 if hard == resource.RLIM_INFINITY else min(hard, 1 << 20)
    words = ["--data_dir", nothing, "--save_dir", folder, "--token_dtype", dtype, "--cpus", 1, "--shards", 1]
    words += ["--mem", BUILD_MEMORY_GIB, "--ulimit", most_files]
    used = watched([sys.executable, "-m", "infini_gram.indexing", *words], core)[1]
    nothing.rmdir()
    if not (folder / "table.0").is_file():
        raise Failed("infini-gram left no table")
    return used


def build_tokengrams(folder, core):
    """tokengrams sorts the same file of tokens. It has no notion of documents: names and ends would be the caller's."""
    job = {"engine": "tokengrams", "build": [str(folder / "tokenized.0"), str(folder / "tokens.idx")]}
    return run_job(job, folder, core)[1]


def run_job(job, folder, core):
    """(what the process of this file answers, what it used). The answer goes by a file: the engines print at will."""
    question, answer = folder / "job.json", folder / "answer.json"
    question.write_text(json.dumps(job))
    answer.unlink(missing_ok=True)
    used = watched([sys.executable, HERE, question, answer], core)[1]
    answered = json.loads(answer.read_text())
    question.unlink()
    answer.unlink()
    return answered, used


# The others: how they are asked (in a process of this file)


class InfiniGram:
    def __init__(self, job):
        from infini_gram.engine import InfiniGramEngine

        narrow = job["dtype"] == "u8"
        start = time.perf_counter()
        # No prefetching and blocks of 256, as OLMoTrace's own service sets them: it found that faster.
        self.engine = InfiniGramEngine(
            index_dir=job["index"],
            eos_token_id=0 if narrow else UNKNOWN,
            vocab_size=255 if narrow else MARK,
            version=4,
            token_dtype=job["dtype"],
            ds_prefetch_depth=0,
            sa_prefetch_depth=0,
            od_prefetch_depth=0,
            bow_ids_path=job.get("word_ids"),
            attribution_block_size=256,
            precompute_unigram_logprobs=False,
        )
        self.open = time.perf_counter() - start

    def trace(self, ids, starts, min_len, max_cnt):
        """OLMoTrace's step: spans from word starts, with all their places. With `enforce_bow` half of the starts fall
        away, as OLMoTrace has it and as Tributary counts."""
        answer = self.engine.attribute(ids, [], min_len, max_cnt, True)
        if "error" in answer:
            raise Failed(answer["error"])
        return len(answer["spans"])

    def count(self, ids):
        return self.engine.count(ids)["count"]

    def find(self, ids):
        return self.engine.find(ids)["segment_by_shard"]

    def longest(self, ids, starts):
        """Of each start, the end of its longest match, and whether nothing was found at the first entry of the suffix
        array: there the engine computes 0 - 1 without a sign, looks at no neighbour and finds nothing at all."""
        ends = self.engine.creativity(ids)["rs"]
        return [(ends[start], ends[start] == start and self.find(ids[start:])[0][0] == 0) for start in starts]


class Tokengrams:
    def __init__(self, job):
        index = tokengrams_extension().MemmapIndex
        pairs = [(str(Path(folder) / "tokenized.0"), str(Path(folder) / "tokens.idx")) for folder in job["index"]]
        start = time.perf_counter()
        if len(pairs) == 1:
            self.index = index(*pairs[0])
        else:
            self.index = tokengrams_extension().ShardedMemmapIndex(pairs)
        self.open = time.perf_counter() - start

    def reach(self, ids, start, known):
        """The end of the longest match from `start`; `known` is an end that is known to be reached."""
        end, step = max(start, known), 1
        while end + step <= len(ids) and self.index.contains(ids[start : end + step]):
            end += step
            step *= 2
        while step > 1:
            step //= 2
            if end + step <= len(ids) and self.index.contains(ids[start : end + step]):
                end += step
        return end

    def trace(self, ids, starts, min_len, max_cnt):
        """It has no tracing: this is the step of OLMoTrace made of its calls, one start after the other."""
        spans = last = known = 0
        for start in starts:
            known = self.reach(ids, start, known)
            if known > last and known - start >= min_len:
                last = known
                if self.index.count(ids[start:known]) <= max_cnt:
                    self.index.positions(ids[start:known])
                    spans += 1
        return spans

    def count(self, ids):
        return self.index.count(ids)

    def find(self, ids):
        return self.index.positions(ids)

    def longest(self, ids, starts):
        out, known = [], 0
        for start in starts:
            known = self.reach(ids, start, known)
            out.append((known, False))
        return out


def tokengrams_extension():
    """The compiled part of the package alone: its `__init__` imports datasets and transformers, which nothing here
    needs and which take minutes to install."""
    if "tokengrams" not in sys.modules:
        folder = Path(importlib.util.find_spec("tokengrams").submodule_search_locations[0])
        (library,) = folder.glob("tokengrams*.so")
        spec = importlib.util.spec_from_file_location("tokengrams", library)
        sys.modules["tokengrams"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["tokengrams"])
    return sys.modules["tokengrams"]


def timed(call, *words):
    start = time.perf_counter()
    answer = call(*words)
    return time.perf_counter() - start, answer


def answer(job):
    if "build" in job:
        tokengrams_extension().MemmapIndex.build(*job["build"])
        return {}
    if job["engine"] == "libsais":
        return {"seconds": sort_with_libsais(job["library"], job["text"])}
    engine = {"infini-gram": InfiniGram, "tokengrams": Tokengrams}[job["engine"]](job)
    out = {"open": engine.open, "traces": [], "calls": {}, "longest": []}
    for trace in job.get("traces", []):
        words = trace["min_len"], trace["max_cnt"]
        for ids, starts in trace["warm_up"]:
            engine.trace(ids, starts, *words)
        took = [timed(engine.trace, ids, starts, *words) for ids, starts in trace["questions"]]
        out["traces"].append({"seconds": [each for each, _ in took], "spans": sum(spans for _, spans in took)})
    for name in ("count", "find"):
        call = getattr(engine, name)
        for ids in job.get("ngrams", []):
            call(ids)
        out["calls"][name] = [timed(call, ids)[0] for ids in job.get("ngrams", [])]
    for ids, starts, ends in job.get("longest", []):
        out["longest"].append(whole_words(engine, ids, starts, ends))
    return out


def whole_words(engine, ids, starts, ends):
    """Of each word start: the end of its longest match of whole words (the start itself if there is none), how often
    that occurs, and whether infini-gram's defect at the array's first entry is why nothing was found."""
    out = []
    for start, (end, at_edge) in zip(starts, engine.longest(ids, starts)):
        last = bisect.bisect_right(ends, end) - 1
        whole = ends[last] if last >= 0 and ends[last] > start else start
        out.append((whole, engine.count(ids[start:whole]) if whole > start else 0, at_edge))
    return out


# libsais alone


def compile_libsais(cache):
    """libsais as a library, from cargo's own copy of the crate `libsais-sys`; None where that is not there."""
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    sources = sorted(home.glob("registry/src/*/libsais-sys-*/libsais/src/libsais.c"))
    if not sources or not shutil.which("cc"):
        return None
    crate = sources[-1].parents[2]
    library = cache / f"{crate.name}.so"
    if not library.is_file():
        include = crate / "libsais" / "include"
        subprocess.run(["cc", "-O3", "-shared", "-fPIC", "-I", include, "-o", library, sources[-1]], check=True)
    return library


def sort_with_libsais(library, path):
    text = np.fromfile(path, dtype=np.uint8)
    places = np.empty(len(text), dtype=np.int32)
    sort = ctypes.CDLL(library).libsais
    pointers = ctypes.c_void_p(text.ctypes.data), ctypes.c_void_p(places.ctypes.data)
    took, code = timed(sort, *pointers, ctypes.c_int32(len(text)), ctypes.c_int32(0), None)
    if code:
        raise Failed(f"libsais returned {code}")
    return took


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(answer(json.loads(Path(sys.argv[1]).read_text()))))
