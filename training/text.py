"""The words: a byte-pair tokenizer in CLIP's form, and the small text encoder that is trained with the U-Net."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from .icons import Icon

WIDTH = 192
TOKENS = 32
_START, _END = "<|startoftext|>", "<|endoftext|>"

# A user writes "a red apple", "apple, red" or "red apple emoji"; each form is seen in training.
_FORMS = ("{}", "{}", "a {}", "{} emoji", "a {} emoji", "{}, shaded", "a picture of a {}", "{} on white")


def caption(icon: Icon, random: random.Random) -> str:
    """One caption for `icon`: one of its names in one of several forms, now and then with its last word first."""
    name = random.choice((icon.words, *icon.aliases))
    if " " in name and random.random() < 0.15:
        first, _, last = name.rpartition(" ")
        name = f"{last}, {first}"
    return random.choice(_FORMS).format(name)


def build_tokenizer(icons: list[Icon]) -> CLIPTokenizer:
    """A tokenizer whose byte-pair merges come from the captions: the words of the icons become one token each."""
    # Sorted, so that a name moved from one list to another changes no token.
    corpus = sorted(form.format(icon.words) for icon in icons for form in _FORMS)
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Lowercase()
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=[_START, _END],
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(corpus, trainer)
    learnt = json.loads(trained.to_str())["model"]
    vocabulary, merges = learnt["vocab"], [" ".join(pair) for pair in learnt["merges"]]
    # Every byte can also end a word, so no prompt has a word that the tokenizer cannot spell.
    for symbol in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary.setdefault(symbol + "</w>", len(vocabulary))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
        Path(folder, "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
        Path(folder, "tokenizer_config.json").write_text(
            json.dumps({"model_max_length": TOKENS, "tokenizer_class": "CLIPTokenizer", "pad_token": _END})
        )
        return CLIPTokenizer.from_pretrained(folder)


def build_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    """A text encoder of two layers; its pooled output is the state at the end token, as in SDXL."""
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Token ids of shape (captions, 32), padded and cut as SDXL's pipeline does it."""
    return tokenizer(
        captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
    ).input_ids


def encode(encoder: CLIPTextModelWithProjection, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, 32, width) states of the last layer but one, and the (B, width) pooled vector: SDXL's two conditions."""
    output = encoder(tokens, output_hidden_states=True)
    return output.hidden_states[-2], output.text_embeds
