#!/usr/bin/env python3
"""Renders every template of a folder on 200 conversations, by transformers' own jinja2 environment and by us, and compares.

    judge_templates.py build/tests/text/render_lines [--folder DIR]     the difference, template by template; exit 1 if there is any
    judge_templates.py --write                                          writes golden/conversations.jsonl and golden/renders.json

Needs `pip install transformers jinja2 tokenizers`; run by hand. golden/tokenizer_chat.json knows the special tokens of all
these models. renders.json holds, for each template, one entry per conversation: "text" or "text ids", FNV-1a hashes of the
text and, where the conversation contains nothing that looks like a special token, of the ids that tokenizers makes of it;
or "!message" of raise_exception; or "?" for any other error.
"""
import argparse
import datetime
import json
import pathlib
import subprocess
import sys

from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers.utils import chat_template_utils

import template_conversations

GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
NOW = "2026-11-27"


class FrozenDate(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 11, 27)


def fnv1a(text):
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return f"{value:08x}"


def chat_tokenizer():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=template_conversations.SPECIALS, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    made.train_from_iterator(template_conversations.TEXTS * 3, trainer)
    return made


def has_look_alike(conversation):
    text = json.dumps(conversation, ensure_ascii=False)
    return any(special in text for special in template_conversations.SPECIALS)


def reference(template, variables):
    """("text", text), ("raised", message) or ("error", type)."""
    chat_template_utils.datetime = FrozenDate
    compiled = chat_template_utils._compile_jinja_template(template)
    try:
        return "text", compiled.render(**json.loads(json.dumps(variables)), **TOKENS)
    except TemplateError as error:
        return ("raised", str(error)) if type(error) is TemplateError else ("error", repr(error))
    except Exception as error:
        return "error", repr(error)


def answers_of_ours(program, template, variables):
    tasks = "".join(json.dumps({"template": template, "variables": {**v, **TOKENS, "frozen_now": NOW}}) + "\n" for v in variables)
    lines = subprocess.run([program], input=tasks, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
    for line in lines:
        answer = json.loads(line)
        yield ("error", answer["error"]) if isinstance(answer, dict) else ("text", "".join(text for text, _ in answer))


def agree(wanted, got):
    if wanted[0] == "text":
        return got == wanted
    return got[0] == "error" and (wanted[0] == "error" or wanted[1] in got[1])


def write(templates, conversations):
    (GOLDEN / "conversations.jsonl").write_text("".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) + "\n" for c in conversations))
    tokenizer = chat_tokenizer()
    tokenizer.save(str(GOLDEN / "tokenizer_chat.json"), pretty=False)

    def entry(template, conversation):
        kind, text = reference(template, conversation)
        if kind != "text":
            return "!" + text if kind == "raised" else "?"
        if has_look_alike(conversation):
            return fnv1a(text)
        return fnv1a(text) + " " + fnv1a(" ".join(map(str, tokenizer.encode(text, add_special_tokens=False).ids)))

    entries = {path.stem: [entry(path.read_text(), c) for c in conversations] for path in templates}
    rows = ",\n".join(json.dumps(name) + ":" + json.dumps(row, ensure_ascii=False, separators=(",", ":")) for name, row in entries.items())
    (GOLDEN / "renders.json").write_text("{\n" + rows + "\n}\n")


def judge(program, templates, conversations, shown):
    differences = 0
    for path in templates:
        template = path.read_text()
        wanted = [reference(template, c) for c in conversations]
        wrong = [(i, w, g) for i, (w, g) in enumerate(zip(wanted, answers_of_ours(program, template, conversations))) if not agree(w, g)]
        texts, raised = (sum(kind == k for kind, _ in wanted) for k in ("text", "raised"))
        print(f"{path.stem:40} {texts:4} texts {raised:4} raised {len(wanted) - texts - raised:4} other errors {len(wrong):4} differ")
        for number, want, got in wrong[:shown]:
            print(f"  conversation {number}: {json.dumps(conversations[number], ensure_ascii=False)[:600]}\n    jinja2 {want!r}\n    ours   {got!r}")
        differences += len(wrong)
    print(f"{len(templates)} templates, {len(conversations)} conversations each, {differences} differ")
    return differences


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", nargs="?")
    parser.add_argument("--folder", type=pathlib.Path, default=GOLDEN / "templates")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--shown", type=int, default=1)
    options = parser.parse_args()
    templates = sorted(options.folder.glob("*.jinja"))
    conversations = template_conversations.conversations()
    if options.write:
        write(templates, conversations)
    if options.program:
        sys.exit(1 if judge(options.program, templates, conversations, options.shown) else 0)


main()
