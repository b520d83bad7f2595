#!/usr/bin/env python3
"""Makes tests/text/golden: what PyPI tokenizers and jinja2 answer. Needs `pip install tokenizers jinja2`; run by hand.

    make_golden.py [--model-tokenizer TOKENIZER.json] [--families]

tokenizer_NAME.json    small tokenizers, trained here, one per family of settings
tokenize.jsonl         {"tokenizer", "text", "untrusted": ids, "trusted": ids, "decoded": text without special tokens}
family_NAME.json       small tokenizers in the shape of well-known families (--families makes these two alone)
families.jsonl         as tokenize.jsonl, "shown": with special tokens where that differs
gguf.jsonl             SentencePiece tables of GGUF files, the merges that transformers makes of them, and rows as above
templates.jsonl        {"name", "template", "variables", "text"} or "error": true
smollm2.jsonl          {"text", "untrusted"} of the real tokenizer (only with --model-tokenizer)
"""
import argparse
import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import golden_templates
import golden_tokenizers

FOLDER = pathlib.Path(__file__).resolve().parent / "golden"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CORPUS = [
    "The licensee may copy and distribute the work, provided that the above copyright notice appears in all copies.",
    "Redistribution and use in source and binary forms, with or without modification, are permitted.",
    "You should have received a copy of the GNU General Public License along with this program.",
    "def main(argc, argv):\n    for i in range(10):\n        print(i, 'is the number', 2 * i + 1)\n    return 0\n",
    "Größe, Straße, naïve café, façade; Ελληνικά, Русский язык, 日本語のテキスト, 中文文本, 한국어, العربية, हिन्दी",
    "It's what they'll do; we've said I'd go, you're right. 1234 5678 90 2024-11-23 3.14159",
    "user\nassistant\nsystem\n\n\nHello   world\t\ttabs  and   spaces\r\n",
]


def strings():
    """Nasty strings: each says in its place what it is for."""
    out = ["", " ", "  ", "a", "\n", "\r\n", "\r", "\t", "\x00", "\x00\x00a", "\x1b[0m", "\x7f", "\x85", "\xa0", "\xad", "\u180e",
           "\u200b", "\u200d", "\u2028", "\u2029", "\u3000", "\ufeff", "\ufffd", "\U0010ffff", "\ue000",
           "Hello world", " Hello  world ", "Hello\nworld\n", "\n\n1", "1\n\n2", "a1b22c333d4444", "0123456789" * 3, "3.14159e-10",
           "½ ⅓ Ⅷ ٣ ௧ 𝟛 ①", "it's IT'S I'll I'LL we've ŗ's ‘s ’s 'ſ 'ſt", "''''s 'sss", "don't can't won't",
           "é e\u0301 ê e\u0302 ế ệ e\u0323\u0302 e\u0302\u0323", "Å Å Å", "\u0301a", "a\u0301\u0301\u0301\u0316\u0316", "ﬁ ﬃ ǆ ß ẞ İ ı",
           "한국어 한국어", "각 각", "日本語テキスト", "中文，标点。", "ไทยไม่มีช่องว่าง", "नमस्ते दुनिया", "שלום עולם", "مرحبا بالعالم",
           "Ελληνικά", "Русский", "ქართული", "👍", "👍🏽", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "☃️", "a👍b", " 👍", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𠀀𠀁",
           "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|>user\nHi<|im_end|>\n", "<|im_start", "|im_start|>", "<|im_start|",
           "<<|im_end|>>", "<|im_end|><|im_end|>", "x<|im_end|>y", " <|im_end|> ", "<|IM_END|>", "< |im_end|>", "<|im_\u200bend|>",
           "<|im_start|im_end|>", "＜|im_end|＞", "<mask>", " <mask> ", "a <mask> b", "\t\n<mask>\u3000x", "a<mask>b", "<word>", "a<word>",
           "<word>a", " <word> ", "é<word>", "-<word>-", "_<word>_", "<word><word>", "<tool>", "x<tool>y", "<tool><|im_end|>", "ngoà", "ngoà",
           "http://example.org/a?b=c&d=%20#e", "user@example.org", "C:\\path\\file.txt", "a/b//c", "---", "-----BEGIN-----", "==", "!!!", "?!",
           "{\"key\": [1, 2, {\"a\": null}]}", "<html><body>&amp;</body></html>", "x = y + 1;  // comment", "#include <stdio.h>\n",
           "    indented\n        more\n\tTab\n", "trailing   ", "   leading", "a  b   c    d", "a \n b \n\n c", "\n \n \n", " \t \n\r\n \t",
           "line\r\nline\r\n", "\u2003em\u2003space", "a\xa0b", "zero\u200bwidth", "soft\xadhyphen", "CamelCaseWord", "snake_case_word", "UPPER lower",
           "a" * 300, "ab" * 200, " " * 100, "\n" * 50, "." * 70, "é" * 90, "日" * 60, "the " * 50, "\t" * 17]
    for low in (0x00, 0x80, 0x100, 0x300, 0x370, 0x400, 0x590, 0x900, 0x1100, 0x1E00, 0x2000, 0x2100, 0x2460, 0x3040, 0x4E00, 0xAC00,
                0xFB00, 0xFE00, 0xFF00, 0x10000, 0x1D400, 0x1F300, 0x1F900, 0x20000, 0xE0000):
        block = [chr(c) for c in range(low, low + 0x60) if not 0xD800 <= c < 0xE000]
        out += ["".join(block), " ".join(block[::5]), "a" + "b".join(block[::9])]
    out += [a + b for a in ("word", " word", "1", "\n", " ", "'s", "!", "é", "日") for b in ("word", " word", "2", "\n", "  ", "'s", "!", "\u0301", "本")]
    return out


def byte_level(name, pre=None, normalizer=None, ignore_merges=False, bos=False, vocab=700, prefix=False, regex=True):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    last = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(pre + [last]) if pre else last
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    # Every second letter of the byte alphabet: the other bytes have no token, as 21 have none in SmolLM2.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    alphabet = [c for i, c in enumerate(alphabet) if c.isascii() or i % 3]
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=True, special=True)])
    tokenizer.add_tokens([AddedToken("<word>", single_word=True, normalized=False), AddedToken("<tool>", normalized=False),
                          AddedToken("  \n", normalized=False, rstrip=True), AddedToken("ngoà", normalized=True)])
    if bos:
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<|endoftext|> $A", pair="<|endoftext|> $A <|endoftext|> $B:1",
                                          special_tokens=[("<|endoftext|>", tokenizer.token_to_id("<|endoftext|>"))])])
    tokenizer.save(str(FOLDER / f"tokenizer_{name}.json"), pretty=False)


def make_tokenizers():
    split = lambda pattern, behavior="isolated", invert=False: pre_tokenizers.Split(Regex(pattern), behavior, invert)
    byte_level("gpt2")
    byte_level("smollm", pre=[pre_tokenizers.Digits(individual_digits=True)])
    byte_level("prefix", pre=[pre_tokenizers.Digits(individual_digits=False)], prefix=True)
    byte_level("llama3", pre=[split(LLAMA3)], regex=False, ignore_merges=True, bos=True)
    byte_level("qwen", pre=[split(LLAMA3.replace("{1,3}", ""))], regex=False, normalizer=normalizers.NFC())
    byte_level("gpt4o", pre=[split(GPT4O, "removed", True)], regex=False)
    byte_level("deepseek", pre=[split(r"[\r\n]"), split(r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ҁҊ-ԯԱ-Ֆ]+"),
                                 split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), split(r"\s+$"), split(r"[一-龥ࠀ-一가-퟿]+"),
                                 pre_tokenizers.Digits(individual_digits=True)], regex=False)
    for behavior in ("removed", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            pre = [split(r"\s|[aeiou]{2}", behavior, invert), pre_tokenizers.Split("the", "merged_with_next", False)]
            byte_level(f"{behavior}{'_inverted' * invert}", pre=pre, regex=False, vocab=400)


def ids(tokenizer, text, trusted):
    tokenizer.encode_special_tokens = not trusted
    return tokenizer.encode(text, add_special_tokens=False).ids


def write(name, rows):
    with open(FOLDER / name, "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, separators=(",", ":")) + "\n")


def tokenize_rows():
    for path in sorted(FOLDER.glob("tokenizer_*.json")):
        tokenizer = Tokenizer.from_file(str(path))
        name = path.stem.removeprefix("tokenizer_")
        every = strings()
        for text in every if name in ("smollm", "llama3", "qwen") else every[::3]:
            row = {"tokenizer": name, "text": text, "untrusted": ids(tokenizer, text, False)}
            trusted = ids(tokenizer, text, True)
            if trusted != row["untrusted"]:
                row["trusted"] = trusted
            row["decoded"] = tokenizer.decode(trusted)
            yield row


def family_strings():
    own = ["<s>", "<s>Hi</s>", " <s> x", "</s>", "<unk>", "a<unk>b", "<0x41>", "<0x0A><0xE2>", "[INST] Hi [/INST]", "<bos>", "<start_of_turn>user\n",
           "<|user|>\nHi<|end|>\n<|assistant|>\n", "<|end|> \n\t x", "[CLS] a [SEP]", "[MASK]", "<|startoftext|>", "\u2581", "\u2581\u2581a",
           "a\u2581b", " \u2581 ", "\t\t", "\n\n\n", "<b>x</b>", "Hello, world! Isn't it? It do not.", "unaffable##ing", "a_b-c.d", "\uFF21\u0301", "U\u0130stanbul",
           "\u1100\u1161\u11A8", "\u2026\u2026", "e\u0301\u0301", "\u0301\u0301x", "\u200b\u200bx", "\U0001D518\U0001D52B", "12345 \u0663\u0664", "\U00020000\u4E2D"]
    return own + strings()[::3]


def family_rows():
    for name in golden_tokenizers.FAMILIES:
        source = golden_tokenizers.source(name, CORPUS * 3)
        (FOLDER / f"family_{name}.json").write_text(source, encoding="utf-8")
        tokenizer = Tokenizer.from_str(source)
        hidden = golden_tokenizers.hidden_specials(tokenizer)
        for text in family_strings():
            if any(token in text for token in hidden):
                continue
            row = {"tokenizer": name, "text": text, "untrusted": ids(tokenizer, text, False)}
            trusted = ids(tokenizer, text, True)
            if trusted != row["untrusted"]:
                row["trusted"] = trusted
            row["decoded"] = tokenizer.decode(trusted)
            shown = tokenizer.decode(trusted, skip_special_tokens=False)
            if shown != row["decoded"]:
                row["shown"] = shown
            yield row


def gguf_rows():
    """SentencePiece tables as GGUF files hold them, with the merges of transformers' generate_merges."""
    from transformers.tokenization_utils_base import generate_merges
    for name, architecture, prefix in (("llama2", "llama", -1), ("gemma", "gemma2", 0), ("phi3", "phi3", 1)):
        file = json.loads(golden_tokenizers.source(name, CORPUS * 3))
        added = {token["id"]: token for token in file["added_tokens"]}
        file["model"]["vocab"].pop("\t", None)  # Gemma's tab is byte 9; the table of a GGUF file has one text for an id
        texts = {i: t for t, i in file["model"]["vocab"].items()} | {i: token["content"] for i, token in added.items()}
        tokens = [texts.get(i, f"<hole {i}>") for i in range(max(texts) + 1)]
        kind = lambda i, t: ((2 if t == "<unk>" else 3 if added[i]["special"] else 4) if i in added else 6 if t in golden_tokenizers.BYTES
                             else 5 if i not in texts else 1)
        types = [kind(i, t) for i, t in enumerate(tokens)]
        rank = {"".join(merge): i for i, merge in reversed(list(enumerate(file["model"]["merges"])))}
        # Equal scores, too: how they are ordered is part of the format.
        scores = [0.0 if types[i] != 1 else -float(rank.get(t, 1000) // 3) for i, t in enumerate(tokens)]
        vocab = {t: i for i, t in enumerate(tokens) if i in texts}
        if "\t" not in vocab and any("\t" in t for t in tokens):
            vocab["\t"] = vocab["<0x09>"]
        merges = generate_merges(vocab, {t: score for t, score in zip(tokens, scores) if t in vocab})
        file["model"].update(vocab=vocab, merges=[list(merge) for merge in merges])
        tokenizer = Tokenizer.from_str(json.dumps(file))
        rows = [{"text": text, "untrusted": ids(tokenizer, text, False), "trusted": ids(tokenizer, text, True)} for text in family_strings()[::2]]
        for row in rows:
            row["decoded"] = tokenizer.decode(row["trusted"])
        yield {"name": name, "architecture": architecture, "prefix": prefix, "tokens": tokens, "types": types, "scores": scores, "merges": merges,
               "rows": rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-tokenizer")
    parser.add_argument("--families", action="store_true")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    write("families.jsonl", family_rows())
    write("gguf.jsonl", gguf_rows())
    if options.families:
        return
    make_tokenizers()
    write("tokenize.jsonl", tokenize_rows())
    write("templates.jsonl", golden_templates.rows())
    if options.model_tokenizer:
        tokenizer = Tokenizer.from_file(options.model_tokenizer)
        write("smollm2.jsonl", ({"text": text, "untrusted": ids(tokenizer, text, False)} for text in strings()))


if __name__ == "__main__":
    main()
