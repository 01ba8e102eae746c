"""What the checks of clients share. EMBEDD_URL, EMBEDD_KEY and EMBEDD_MODEL say where the server is, and what it has."""
import importlib.metadata
import json
import os
import urllib.request

URL, KEY, MODEL = os.environ["EMBEDD_URL"], os.environ["EMBEDD_KEY"], os.environ["EMBEDD_MODEL"]
TEXTS = ["graph neural networks", "message passing on molecules", "the rotation curves of galaxies"]
LONG = "a long text of many words that no model reads to its end " * 200


def call(path, body):
    """Call a route of the server's own."""
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), {"Content-Type": "application/json", "Authorization": "Bearer " + KEY})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def vectors(texts, role="ROLE_DOCUMENT"):
    """The vectors as the server's own method gives them."""
    return [e["vector"]["values"] for e in call("/v1/encode", {"texts": texts, "role": role})["encodings"]]


def tokens(texts):
    """How many tokens texts have."""
    return sum(e["textUse"]["tokenCount"] for e in call("/v1/encode", {"texts": texts})["encodings"])


def same(got, want):
    """Fail unless vectors are the same, up to what batches change."""
    assert len(got) == len(want), (len(got), len(want))
    for a, b in zip(got, want):
        assert len(a) == len(b) and max(abs(x - y) for x, y in zip(a, b)) < 1e-5, (a[:4], b[:4])


def fails(error, do, *words, **attributes):
    """Fail unless do fails by an error of this class, whose text has the words."""
    try:
        do()
    except error as e:
        assert type(e) is error, (type(e), error)
        for word in words:
            assert word in str(e), (word, str(e))
        for name, want in attributes.items():
            assert getattr(e, name) == want, (name, getattr(e, name), want)
        return
    raise AssertionError(f"no {error.__name__}")


def passed(package, *calls):
    """Say what has passed."""
    print(f"{package} {importlib.metadata.version(package)}: " + "; ".join(calls))
