"""Whether the engines give the same answers, for scripts/bench_spans.py, and whether these are the right ones.

Two checks that share nothing: every word start of every response is compared between the engines, and a sample of the
starts is answered a third time by searching the corpus's bytes from front to back with `bytes.find`.
"""

import functools
import os
import random
from collections import Counter

KEEP = 5  # differences that are shown
TRIBUTARY = "Tributary"


class Oracle:
    """Longest matches and counts by looking through the whole corpus: slow, and too plain to be wrong with an index."""

    def __init__(self, rule, documents):
        self.rule = rule
        # 0xFF is in no UTF-8 text, so nothing is found across it.
        self.data = b"\xff" + b"\xff".join(text.encode() for text in documents) + b"\xff"

    def _before(self, place):
        first = place - 1
        while self.data[first] & 0xC0 == 0x80:
            first -= 1
        return None if self.data[first] == 0xFF else self.data[first:place].decode()

    def _at(self, place):
        lead = self.data[place]
        if lead == 0xFF:
            return None
        return self.data[place : place + width(lead)].decode()

    def _starts(self, needle):
        """Where a run of bytes stands that starts with a word's start."""
        place = self.data.find(needle)
        while place >= 0:
            if self.rule.bound(self._before(place), self._at(place)):
                yield place
            place = self.data.find(needle, place + 1)

    def longest(self, text, start):
        """(bytes, occurrences) of the longest match of the text from a word start, up to a bound of code points."""
        text = text[start:]
        length, needle, place = 0, text[: width(text[0])], -1
        while (place := self.data.find(needle, place + 1)) >= 0:
            if self.rule.bound(self._before(place), self._at(place)):
                length = common(self.data[place : place + len(text)], text)
                if length == len(text):
                    break
                needle = text[: length + width(text[length])]
        return length, sum(1 for _ in self._starts(text[:length])) if length else 0

    def whole(self, text, start, ends):
        """(bytes, occurrences) of the longest match that ends with a word's end in the text and in the corpus."""
        length, _ = self.longest(text, start)
        for end in sorted((end for end in ends if start < end <= start + length), reverse=True):
            needle = text[start:end]
            last = needle.decode()[-1]
            count = sum(self.rule.bound(last, self._at(place + len(needle))) for place in self._starts(needle))
            if count:
                return len(needle), count
        return 0, 0


def width(lead):
    """How many bytes the code point has that starts with this one."""
    return 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4


def common(left, right):
    """How many bytes two texts have in common from their starts, in whole code points of `right`."""
    length = len(os.path.commonprefix((left, right)))
    while length < len(right) and right[length] & 0xC0 == 0x80:
        length -= 1
    return length


class Tally:
    """How many answers were compared, how many of them were equal, and why the others were not."""

    def __init__(self):
        self.counts, self.shown = Counter(), []

    def compare(self, ours, theirs, where, explained=None):
        self.counts["compared"] += 1
        if ours == theirs:
            self.counts["equal"] += 1
            return
        self.counts[f"explained: {explained}" if explained else "differing"] += 1
        if not explained and len(self.shown) < KEEP:
            self.shown.append({"where": where, "one": ours, "other": theirs})

    def skip(self, reason):
        self.counts[f"incomparable: {reason}"] += 1

    def report(self):
        return {"compared": 0, "equal": 0, "differing": 0} | dict(self.counts) | {"first_differences": self.shown}


EDGE = "nothing found at the array's first entry, where infini-gram's 0 - 1 wraps"


def tributary_starts(traced):
    """{byte: (bytes, count, whole, whole_count)} of each response of `tributary span trace --raw`."""
    fields = ("bytes", "count", "whole", "whole_count")
    return [
        {each["start"]: tuple(each[name] for name in fields) for each in response["starts"]}
        for response in traced["responses"]
    ]


def starts_differ(questions, starts):
    """Compares the word starts themselves: Tributary's, and those of the rule as it is read here."""
    tally = Tally()
    for index, (question, told) in enumerate(zip(questions, starts)):
        for start in sorted(set(question.byte_starts) | set(told)):
            tally.compare(start in told, start in question.byte_starts, f"response {index}, byte {start}")
    return tally.report()


def engines_differ(questions, ours, theirs):
    """Compares `whole` and its count at every word start with another engine's longest run of whole tokens.

    `ours` is Tributary's starts or another engine's answer in the form of `theirs`, which is what `whole_words` gives.
    """
    tally = Tally()
    for index, (question, other) in enumerate(zip(questions, theirs)):
        for word, (start, byte) in enumerate(zip(question.starts, question.byte_starts)):
            end, count, at_edge = other[word]
            answer = (question.bytes_from(start, end), count)
            if isinstance(ours[index], dict):
                mine = ours[index].get(byte, (None,) * 4)[2:]
            else:
                mine = (question.bytes_from(start, ours[index][word][0]), ours[index][word][1])
            tally.compare(mine, answer, f"response {index}, byte {byte}", EDGE if at_edge else None)
    return tally.report()


def oracle_differs(oracle, texts, questions, seed, sample, ours, theirs):
    """Compares a sample of starts with the oracle: Tributary's four numbers, and the others' two; None where absent."""
    chance = random.Random(f"{seed} oracle")
    tallies = {name: Tally() for name in ([TRIBUTARY] if ours else []) + list(theirs)}
    every = [(index, word) for index, question in enumerate(questions) for word in range(len(question.starts))]
    for index, word in chance.sample(every, min(sample, len(every))):
        question, data = questions[index], texts[index].encode()
        start = question.byte_starts[word]
        longest, whole = oracle.longest(data, start), oracle.whole(data, start, question.byte_ends)
        where = f"response {index}, byte {start}"
        if ours:
            tallies[TRIBUTARY].compare(ours[index].get(start), longest + whole, where)
        for name, answers in theirs.items():
            end, count, at_edge = answers[index][word]
            told = (question.bytes_from(question.starts[word], end), count)
            tallies[name].compare(told, whole, where, EDGE if at_edge else None)
    return {name: tally.report() for name, tally in tallies.items()}


def holders_stand(traced, texts, documents):
    """Whether the document that each span names as its holder has the span's bytes at the place that it names."""
    tally, data = Tally(), functools.cache(lambda path: documents[path].encode() if path in documents else b"")
    for response, text in zip(traced["responses"], texts):
        for span in response["spans"]:
            holder, told = span["holder"], text.encode()[span["start"] : span["end"]]
            there = data(holder["document"])[holder["offset"] : holder["offset"] + len(told)]
            contributor = holder["document"].split("/", 1)[0]
            where = f"response {response['id']}, byte {span['start']}, {holder['document']}"
            tally.compare((contributor, told.hex()), (holder["contributor"], there.hex()), where)
    return tally.report()
