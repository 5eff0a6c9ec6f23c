"""Decoders: each without a cache (FAMILY) and with past and present (FAMILY-kv)."""
import torch
import transformers as tf
from transformers import DynamicCache

from . import feeds
from .family import Family

VOCAB = 101
# Names that most configurations have; head size 16.
LLAMA = dict(vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
             bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False)
PLAIN = {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}
ROPE = dict(rope_type="default", rope_theta=10000.0)
LAYERS = ["sliding_attention", "full_attention"]
MOE = dict(num_experts_per_tok=2, hidden_size=32, head_dim=8)

D20, D18, D23, D24 = ("dynamo", 20), ("dynamo", 18), ("dynamo", 23), ("dynamo", 24)
L17, L14 = ("torchscript", 17), ("torchscript", 14)

# Family -> (class prefix, configuration, attention of the exports, exports without
# cache, exports with cache, takes position_ids).
DECODERS = {
    "llama": ("Llama", dict(LLAMA), "sdpa", [D20, D18, D23, L17], [D20, D23, D24, L17, L14], True),
    "gpt2": ("GPT2", dict(
        vocab_size=VOCAB, n_embd=64, n_layer=2, n_head=4, n_positions=64, bos_token_id=1,
        eos_token_id=2), "sdpa", [D20, L17], [D20, D18, L17], True),
    "qwen3": ("Qwen3", dict(LLAMA, head_dim=24), "sdpa", [D20], [D20, D23, L17], True),
    "mistral": ("Mistral", dict(LLAMA, sliding_window=6, head_dim=16), "sdpa",
                [D20, L17], [D20, D23, L17], True),
    "gemma2": ("Gemma2", dict(
        LLAMA, head_dim=16, query_pre_attn_scalar=24, sliding_window=6, layer_types=LAYERS,
        attn_logit_softcapping=5.0, final_logit_softcapping=8.0, tie_word_embeddings=True),
        "eager", [D20], [D20, L17], True),
    "gemma3": ("Gemma3", dict(
        LLAMA, head_dim=16, query_pre_attn_scalar=24, sliding_window=6, layer_types=LAYERS,
        tie_word_embeddings=True, rope_parameters=dict(
            sliding_attention=ROPE, full_attention=dict(ROPE, rope_theta=1e6))),
        "sdpa", [D20], [D20, D23, L17], True),
    "qwen2": ("Qwen2", dict(LLAMA, tie_word_embeddings=True), "sdpa", [D20, L17], [D20, L17], True),
    "phi2": ("Phi", dict(
        PLAIN, num_key_value_heads=4, rope_parameters=dict(ROPE, partial_rotary_factor=0.5)),
        "sdpa", [D20, L17], [D20, L17], True),
    "phi3": ("Phi3", dict(LLAMA), "sdpa", [D20], [D20, L17], True),
    "neox": ("GPTNeoX", dict(
        PLAIN, rope_parameters=dict(ROPE, partial_rotary_factor=0.25)), "sdpa",
        [D20], [D20, L17], True),
    "gptj": ("GPTJ", dict(
        vocab_size=VOCAB, n_embd=64, n_layer=2, n_head=4, n_positions=64, rotary_dim=8,
        bos_token_id=1, eos_token_id=2), "eager", [D20, L17], [D20, L17], True),
    "falcon": ("Falcon", dict(
        vocab_size=VOCAB, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        ffn_hidden_size=96, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
        rope_parameters=ROPE), "sdpa", [D20, L17], [D20, L17], True),
    "bloom": ("Bloom", dict(
        vocab_size=VOCAB, hidden_size=64, n_layer=2, n_head=4, bos_token_id=1,
        eos_token_id=2), "eager", [D20, L17], [D20, L17], False),
    "opt": ("OPT", dict(
        vocab_size=VOCAB, hidden_size=64, ffn_dim=96, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=64, word_embed_proj_dim=64,
        bos_token_id=1, eos_token_id=2, pad_token_id=0), "sdpa", [D20, L17], [D20, L17], False),
    "olmo2": ("Olmo2", dict(LLAMA), "sdpa", [D20], [D20, L17], True),
    "mixtral": ("Mixtral", dict(LLAMA, **MOE, num_local_experts=4), "sdpa", [D20], [D20, L17], True),
    "qwen3-moe": ("Qwen3Moe", dict(
        LLAMA, **MOE, num_experts=4, moe_intermediate_size=24, norm_topk_prob=True,
        decoder_sparse_step=1), "sdpa", [D20], [D20], True),
    "gpt-oss": ("GptOss", dict(
        LLAMA, **MOE, num_local_experts=4, sliding_window=6, layer_types=LAYERS,
        rope_parameters=dict(rope_type="yarn", factor=4.0, beta_fast=32.0, beta_slow=1.0,
                             truncate=False, original_max_position_embeddings=16,
                             rope_theta=10000.0)),
        "eager", [D20], [D20, L17], True),
}
# Configurations whose text model has a name of its own.
CONFIGS = {"Gemma3": "Gemma3TextConfig"}


def builder(prefix, fields):
    def build(attention):
        config = getattr(tf, CONFIGS.get(prefix, prefix + "Config"))(
            **fields, attn_implementation=attention)
        if "num_experts_per_tok" in fields:
            config._experts_implementation = "batched_mm"
        head = "LMHeadModel" if prefix == "GPT2" else "ForCausalLM"
        return getattr(tf, prefix + head)(config)
    return build


def call_plain(model, feed):
    return model(**feed, use_cache=False).logits


def call_cached(model, feed):
    past = [value for name, value in feed.items() if name.startswith("past_")]
    rest = {k: v for k, v in feed.items() if not k.startswith("past_")}
    cache = DynamicCache([(past[i], past[i + 1]) for i in range(0, len(past), 2)])
    out = model(**rest, past_key_values=cache, use_cache=True)
    present = []
    for layer in out.past_key_values.layers:
        present += [layer.keys, layer.values]
    return (out.logits, *present)


def cache_shapes(model):
    """(heads, size) of each cached tensor, from a run."""
    with torch.no_grad():
        out = model(input_ids=torch.ones(1, 2, dtype=torch.int64), use_cache=True)
    shapes = []
    for layer in out.past_key_values.layers:
        for value in (layer.keys, layer.values):
            assert value.shape[0] == 1 and value.shape[2] == 2, value.shape
            shapes.append((value.shape[1], value.shape[3]))
    return shapes


def families(only=None, table=None):
    """Of a table such as DECODERS, whose entries may also end in a change of the model."""
    for name, (prefix, fields, attention, plain, cached, positions,
               *change) in (table or DECODERS).items():
        if only and name not in only:
            continue
        build = builder(prefix, fields)
        for changed in change:
            build = changed(build)
        yield Family(
            name, name, build, ["input_ids", "attention_mask"], ["logits"], call_plain,
            cases=lambda name=name: {
                case: {k: v for k, v in feeds.text(name, case, VOCAB).items()
                       if k != "token_type_ids"} for case in feeds.TEXT},
            exports=[(*e, attention) for e in plain], real=feeds.real_tokens)
        shapes = cache_shapes(build("eager").eval())
        layers = [f"{i // 2}.{('key', 'value')[i % 2]}" for i in range(len(shapes))]
        pasts = [f"past_key_values.{n}" for n in layers]
        presents = [f"present.{n}" for n in layers]
        caches = [(n, *shape) for n, shape in zip(pasts, shapes)]
        inputs = ["input_ids", "attention_mask"] + ["position_ids"] * positions + pasts

        def cases(name=name, caches=caches, inputs=inputs):
            every = {case: feeds.cached(f"{name}-kv", case, VOCAB, caches)
                     for case in feeds.CACHED}
            return {case: {k: feed[k] for k in inputs} for case, feed in every.items()}
        axes = {"attention_mask": ["batch", "total_sequence"]}
        axes.update({n: ["batch", None, "past_sequence"] for n in pasts})
        axes.update({n: ["batch", None, "total_sequence"] for n in presents})
        yield Family(
            f"{name}-kv", name, build, inputs, ["logits", *presents], call_cached, cases,
            [(*e, attention) for e in cached], axes, feeds.real_tokens, example=3)
