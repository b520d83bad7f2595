"""Small tokenizers in the exact shape of well-known families, trained here: make_golden.py and differential.py use them."""
import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

BLANK = "\u2581"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
          r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
# {"from", "to"} of a small table of replacements in SentencePiece's format.
CHARSMAP_RULES = [("\uFB01", "fi"), ("\u00C5", "A\u030A"), ("\u2460", "1"), ("\u3000", " "), ("\t", " "), ("\n", " "), ("\u200B", ""), ("\u0301", ""),
                  ("e\u0301", "\u00E9"), ("\uFF21", "A"), ("\u2026", "..."), ("\U0001D518", "U"), ("\u00BD", "1/2"), ("\u1100\u1161", "\uAC00")]


def prepend(blank=BLANK):
    return normalizers.Sequence([normalizers.Prepend(blank), normalizers.Replace(" ", blank)])


def sentencepiece_decoder(strip):
    steps = [decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if strip else []))


def sentencepiece_bpe(corpus, specials, vocab=700, byte_tokens=BYTES):
    """BPE over blanks as letters; the byte tokens are in the vocabulary, and no added tokens."""
    tokenizer = Tokenizer(models.BPE(unk_token=specials[0], fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", BLANK)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(BLANK, "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=specials + byte_tokens, show_progress=False, limit_alphabet=180)
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def edited(tokenizer, edit):
    """The tokenizer with its JSON changed by edit(dict)."""
    file = json.loads(tokenizer.to_str())
    byte_tokens = set(BYTES)
    file["added_tokens"] = [token for token in file["added_tokens"] if token["content"] not in byte_tokens]
    edit(file)
    return Tokenizer.from_str(json.dumps(file))


def template(bos, id_of):
    return processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1", special_tokens=[(bos, id_of(bos))])


def llama2(corpus):
    tokenizer = edited(sentencepiece_bpe(corpus, ["<unk>", "<s>", "</s>"]), lambda file: None)
    tokenizer.normalizer, tokenizer.pre_tokenizer = prepend(), None
    tokenizer.decoder, tokenizer.post_processor = sentencepiece_decoder(True), template("<s>", tokenizer.token_to_id)
    return tokenizer


def mistral(corpus):
    def merges_as_pairs_dropout_zero(file):
        file["model"]["dropout"] = 0.0
    tokenizer = edited(sentencepiece_bpe(corpus, ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]), merges_as_pairs_dropout_zero)
    tokenizer.normalizer, tokenizer.pre_tokenizer = None, pre_tokenizers.Metaspace(BLANK, "first", False)
    tokenizer.decoder, tokenizer.post_processor = sentencepiece_decoder(True), template("<s>", tokenizer.token_to_id)
    return tokenizer


def gemma(corpus):
    tokenizer = edited(sentencepiece_bpe(corpus, ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]), lambda file: None)
    tokenizer.add_special_tokens(["<start_of_turn>", "<end_of_turn>"])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ("\n", "\n\n", BLANK * 2, BLANK * 3, "<b>", "</b>", "<table>")])
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Replace(" ", BLANK), pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder, tokenizer.post_processor = sentencepiece_decoder(False), template("<bos>", tokenizer.token_to_id)
    return tokenizer


def phi3(corpus):
    tokenizer = edited(sentencepiece_bpe(corpus, ["<unk>", "<s>", "</s>"]), lambda file: None)
    tokenizer.normalizer, tokenizer.pre_tokenizer = prepend(), None
    tokenizer.add_special_tokens([AddedToken(text, rstrip=True, normalized=False) for text in ("<|user|>", "<|end|>", "<|assistant|>")])
    tokenizer.decoder = sentencepiece_decoder(True)
    return tokenizer


def few_bytes(corpus):
    """Some bytes have no token: what falls back and what is unknown stand side by side."""
    some = [token for byte, token in enumerate(BYTES) if byte % 7]
    tokenizer = edited(sentencepiece_bpe(corpus, ["<unk>", "<s>"], 500, some), lambda file: None)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" ", BLANK)])
    return tokenizer


def unigram(corpus, specials, byte_tokens=(), vocab=600):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(BLANK, "always")
    trainer = trainers.UnigramTrainer(vocab_size=vocab, special_tokens=specials + list(byte_tokens), unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.decoder = decoders.Metaspace(BLANK, "always")
    return tokenizer


def t5(corpus):
    import golden_charsmap
    tokenizer = edited(unigram(corpus, ["<pad>", "</s>", "<unk>"]), lambda file: None)
    charsmap = golden_charsmap.charsmap(CHARSMAP_RULES)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap), normalizers.Replace(Regex(" {2,}"), BLANK)])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def unigram_bytes(corpus):
    def fall_back(file):
        file["model"]["byte_fallback"] = True
    tokenizer = edited(unigram(corpus, ["<unk>", "<s>"], BYTES), fall_back)
    tokenizer.normalizer, tokenizer.pre_tokenizer = prepend(), None
    tokenizer.decoder = sentencepiece_decoder(True)
    return tokenizer


def xlmr(corpus):
    tokenizer = unigram(corpus, ["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.Strip(True, False)])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(BLANK, "first")])
    tokenizer.decoder = decoders.Metaspace(BLANK, "first")
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def bert(corpus):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.decoder = decoders.WordPiece("##", True)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def clip(corpus):
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    pattern = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(pattern, "removed", True), pre_tokenizers.ByteLevel(False, use_regex=False)])
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=["<|startoftext|>", "<|endoftext|>"], end_of_word_suffix="</w>",
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.decoder = decoders.BPEDecoder("</w>")
    return tokenizer


def word_level(corpus):
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("merged_with_previous"),
                                                       pre_tokenizers.CharDelimiterSplit("_"), pre_tokenizers.Digits(True)])
    tokenizer.train_from_iterator(corpus, trainers.WordLevelTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False))
    return tokenizer


def prefixed(corpus):
    """BPE whose inner tokens have a prefix."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", continuing_subword_prefix="##"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Sequence([normalizers.NFD(), normalizers.ByteLevel()]), pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["[UNK]"], continuing_subword_prefix="##", show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.decoder = decoders.Sequence([decoders.WordPiece("##", False), decoders.ByteLevel(), decoders.Replace(" ", "~")])
    return tokenizer


def byte_level_bpe(corpus, pattern, ignore_merges, specials, normalizer=None):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)])
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=specials, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def tekken(corpus):
    tokenizer = byte_level_bpe(corpus, TEKKEN, True, ["<unk>", "<s>", "</s>", "[INST]"])
    tokenizer.post_processor = template("<s>", tokenizer.token_to_id)
    return tokenizer


def olmo2(corpus):
    return byte_level_bpe(corpus, GPT4, False, ["<|endoftext|>", "<|pad|>"])


def hidden_specials(tokenizer):
    """Special tokens that a Unigram or WordLevel model writes for untrusted text, too: we never do (docs/tokenizers.md)."""
    file = json.loads(tokenizer.to_str())
    if file["model"]["type"] not in ("Unigram", "WordLevel"):
        return []
    return [token["content"] for token in file["added_tokens"] if token["special"]]


def source(name, corpus):
    """The tokenizer.json of a family, as text."""
    file = json.loads(FAMILIES[name](corpus).to_str())
    if name == "gemma":  # as in Gemma's own file: two texts with one id, which tokenizers reads, but cannot write
        file["model"]["vocab"]["\t"] = file["model"]["vocab"]["<0x09>"]
    return json.dumps(file, ensure_ascii=False, separators=(",", ":"))


FAMILIES = {function.__name__: function for function in (
    llama2, mistral, gemma, phi3, few_bytes, t5, unigram_bytes, xlmr, bert, clip, word_level, prefixed, tekken, olmo2)}
