#!/usr/bin/env python3
"""Writes random nasty texts with their tokens by Hugging Face tokenizers, as JSON lines, for TestTokensOfRandomTexts.

  python3 -m venv venv && venv/bin/pip install tokenizers==0.22.1
  venv/bin/python fuzz_texts.py --tokenizer tokenizer.json --texts 20000 texts.jsonl

Three quarters are put together from the parts below, in which a tokenizer may go wrong; one quarter from all of Unicode.
A text can be made again from the seed that is printed.
"""

import argparse
import json
import random
import sys

MAX_TOKENS = 256

# Ranges of code points, and words.
RANGES = {
    "ASCII": (0x00, 0x7F), "Latin": (0x80, 0x24F), "combining": (0x300, 0x36F), "Greek, Cyrillic": (0x370, 0x52F),
    "Hebrew, Arabic": (0x590, 0x6FF), "Indic": (0x900, 0xDFF), "Thai, Lao, Tibetan": (0xE00, 0xFFF), "jamo": (0x1100, 0x11FF),
    "Ethiopic, Cherokee": (0x1200, 0x13FF), "Latin additional, Greek extended": (0x1E00, 0x1FFF), "punctuation": (0x2000, 0x206F),
    "symbols": (0x2070, 0x2BFF), "kana": (0x3000, 0x30FF), "CJK symbols": (0x3100, 0x33FF), "ideographs": (0x4E00, 0x9FFF),
    "Hangul": (0xAC00, 0xD7A3), "compatibility": (0xF900, 0xFFFF), "plane 1": (0x10000, 0x1FFFF), "plane 2": (0x20000, 0x2FFFF),
    "tags": (0xE0000, 0xE01EF),
}
WORDS = ["[SEP]", "[CLS]", "[MASK]", "[UNK]", "[PAD]", "[", "]", "##", "##ing", "[SE", "P]", "[SE\0P]", "\0", "\u200d", "\ufe0f", "\ufffd",
         "e\u0301", "👩‍🔬", "🇩🇪", "한국어", "ภาษาไทย", "क्षत्रिय", "مُحَمَّد", "Nguyễn", "retrieval", "Embedding", "a" * 99, "é" * 101, "量" * 50]


def code_point(r, low, high):
    while True:
        c = r.randint(low, high)
        if not 0xD800 <= c <= 0xDFFF:
            return chr(c)


def text(r):
    length = int(2 ** r.uniform(0, 10))
    if r.random() < 0.25:
        return "".join(code_point(r, 0, 0x10FFFF) for _ in range(length))
    ranges = r.sample(list(RANGES.values()), r.randint(1, 3))
    out = []
    for _ in range(length):
        x = r.random()
        if x < 0.12:
            out.append(r.choice("  \t\n.,-"))
        elif x < 0.2:
            out.append(r.choice(WORDS))
        elif x < 0.22:
            out.append(code_point(r, *r.choice(ranges)) * r.choice((98, 99, 100, 101, 102)))
        else:
            out.append(code_point(r, *r.choice(ranges)))
    return "".join(out)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out")
    p.add_argument("--tokenizer", required=True)
    p.add_argument("--texts", type=int, default=20000)
    p.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    a = p.parse_args()
    print("seed", a.seed, file=sys.stderr)

    from tokenizers import Tokenizer
    t = Tokenizer.from_file(a.tokenizer)
    t.no_padding()
    t.no_truncation()
    r = random.Random(a.seed)
    with open(a.out, "w") as f:
        for _ in range(a.texts):
            s = text(r)
            ids = t.encode(s).ids
            cut = ids if len(ids) <= MAX_TOKENS else ids[:MAX_TOKENS - 1] + ids[-1:]
            f.write(json.dumps({"text": s, "ids": cut, "tokens_total": len(ids)}) + "\n")


if __name__ == "__main__":
    main()
