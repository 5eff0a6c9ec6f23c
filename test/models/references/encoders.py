"""Encoders of text."""

import torch
import transformers as tf

from . import feeds
from .family import Family

TEXT = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96)
BERT = dict(TEXT, vocab_size=101, max_position_embeddings=48, type_vocab_size=2)
ALL = ["input_ids", "attention_mask", "token_type_ids"]
D20, D18, D23 = ("dynamo", 20), ("dynamo", 18), ("dynamo", 23)
L17, L14, L11 = ("torchscript", 17), ("torchscript", 14), ("torchscript", 11)

# Family -> (class prefix, configuration, inputs, attention, exports).
ENCODERS = {
    "albert": ("Albert", dict(BERT, embedding_size=32, num_hidden_groups=1), ALL,
               "sdpa", [D20, L17]),
    "electra": ("Electra", dict(BERT, embedding_size=32), ALL, "sdpa", [D20, L17]),
    "deberta": ("DebertaV2", dict(
        BERT, type_vocab_size=0, relative_attention=True, position_buckets=8,
        max_relative_positions=-1, pos_att_type=["p2c", "c2p"], share_att_key=True,
        norm_rel_ebd="layer_norm", position_biased_input=False, layer_norm_eps=1e-7,
        pad_token_id=0), ALL[:2], "eager", [D20, D18, L17]),
    "modernbert": ("ModernBert", dict(
        TEXT, vocab_size=101, max_position_embeddings=64, local_attention=8,
        layer_types=["full_attention", "sliding_attention"], pad_token_id=0, bos_token_id=1,
        eos_token_id=2, cls_token_id=1, sep_token_id=2), ALL[:2], "sdpa", [D20, D23, L17]),
}


def builder(prefix, fields):
    def build(attention):
        config = getattr(tf, prefix + "Config")(**fields, attn_implementation=attention)
        return getattr(tf, prefix + "Model")(config)
    return build


def torch_encoder(attention):
    """nn.TransformerEncoder behind an embedding; its fast path has no export."""
    torch.backends.mha.set_fastpath_enabled(False)
    layer = torch.nn.TransformerEncoderLayer(64, 4, 96, batch_first=True, activation="gelu")
    return torch.nn.ModuleDict(dict(
        embedding=torch.nn.Embedding(101, 64),
        encoder=torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)))


def call_torch_encoder(model, feed):
    padding = feed["attention_mask"] == 0
    return model["encoder"](model["embedding"](feed["input_ids"]),
                            src_key_padding_mask=padding)


class LongformerLike(torch.nn.Module):
    """Windows to both sides, and tokens in front that all see.

    transformers' Longformer cuts its scores by hand and has no mask; this is what its
    paper says, in a mask, but that the tokens in front do not see all.
    """

    def __init__(self, windows=(3, 6), leading=2, size=64, heads=4):
        super().__init__()
        self.windows, self.leading, self.heads = windows, leading, heads
        self.embedding = torch.nn.Embedding(101, size)
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(size) for _ in windows)
        self.joint = torch.nn.ModuleList(torch.nn.Linear(size, 3 * size) for _ in windows)
        self.out = torch.nn.ModuleList(torch.nn.Linear(size, size) for _ in windows)

    def forward(self, input_ids, attention_mask):
        hidden = self.embedding(input_ids)
        batch, tokens, size = hidden.shape
        place = torch.arange(tokens)
        query, key = place[:, None], place[None]
        for window, norm, joint, out in zip(self.windows, self.norms, self.joint, self.out):
            near = (query - key <= window) & (key - query <= window)
            seen = near | (key < self.leading)
            seen = seen[None, None] & attention_mask[:, None, None].bool()
            q, k, v = (part.view(batch, tokens, self.heads, -1).transpose(1, 2)
                       for part in joint(norm(hidden)).chunk(3, -1))
            mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
            hidden = hidden + out(mixed.transpose(1, 2).reshape(batch, tokens, size))
        return hidden


def text_cases(name, inputs, vocab=101):
    return lambda: {case: {k: v for k, v in feeds.text(name, case, vocab).items()
                           if k in inputs} for case in feeds.TEXT}


def families():
    for name, (prefix, fields, inputs, attention, exports) in ENCODERS.items():
        yield Family(
            name, name, builder(prefix, fields), inputs, ["last_hidden_state"],
            lambda model, feed: model(**feed).last_hidden_state, text_cases(name, inputs),
            [(*e, attention) for e in exports], real=feeds.real_tokens)
    yield Family(
        "torch-encoder", "torch-encoder", torch_encoder, ALL[:2], ["last_hidden_state"],
        call_torch_encoder, text_cases("torch-encoder", ALL[:2]),
        [(*D20, "sdpa"), (*L17, "sdpa")], real=feeds.real_tokens)
    yield Family(
        "longformer", "longformer", lambda attention: LongformerLike(), ALL[:2],
        ["last_hidden_state"], lambda model, feed: model(**feed),
        text_cases("longformer", ALL[:2]), [(*D20, "sdpa"), (*L17, "sdpa")],
        real=feeds.real_tokens)
