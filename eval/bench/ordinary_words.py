"""Makes `rag/verify/ordinary_words.json`: words that texts write small (for the guard on names).

Only sources under MIT and Apache-2.0 are counted::

    python -m eval.bench.ordinary_words --data FOLDER_WITH_QA
"""

import argparse
import json
import re
from collections import Counter
from pathlib import Path

from eval.qa_data import questions
from rag.verify.names import ORDINARY_WORDS

SOURCES = frozenset({"qamr", "fairytaleqa", "policyqa"})
FEWEST = 3
SMALL_SHARE = 0.8
_INSIDE = re.compile(r"(?<=[a-z,] )[A-Za-z][a-z]+\b")  # not the first word of a sentence


def ordinary_words(texts: set[str]) -> list[str]:
    """Return words that are written small at least thrice, and four times out of five."""
    small: Counter[str] = Counter()
    capital: Counter[str] = Counter()
    for text in texts:
        for word in _INSIDE.findall(text):
            (small if word.islower() else capital)[word.lower()] += 1
    return sorted(
        word
        for word, count in small.items()
        if count >= FEWEST and count >= SMALL_SHARE * (count + capital[word])
    )


def main() -> None:
    """Read the training rows and write the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    rows = questions(parser.parse_args().data, "train")
    words = ordinary_words({row.context for row in rows if row.source in SOURCES})
    ORDINARY_WORDS.write_text(json.dumps(words, indent=0) + "\n", "utf-8")
    print(f"{len(words)} words")


if __name__ == "__main__":
    main()
