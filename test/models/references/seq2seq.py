"""Encoder-decoders: the encoder, the decoder with past and present, both in one."""
import numpy as np
import torch
import transformers as tf
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from . import feeds
from .family import Family

VOCAB = 101
D20, D18, D23 = ("dynamo", 20), ("dynamo", 18), ("dynamo", 23)
L17, L14 = ("torchscript", 17), ("torchscript", 14)
BART = dict(
    vocab_size=VOCAB, d_model=64, encoder_layers=2, decoder_layers=2,
    encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=96,
    decoder_ffn_dim=96, max_position_embeddings=48, pad_token_id=0, bos_token_id=1,
    eos_token_id=2, decoder_start_token_id=2)
# Family -> (class, configuration, attention).
SEQ2SEQ = {
    "t5": ("T5", dict(
        vocab_size=VOCAB, d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4,
        relative_attention_num_buckets=16, relative_attention_max_distance=20,
        feed_forward_proj="gated-gelu", pad_token_id=0, eos_token_id=1,
        decoder_start_token_id=0, tie_word_embeddings=False), "sdpa"),
    "bart": ("Bart", BART, "sdpa"),
    # 20 frames of 12 mel bands, which the second convolution halves.
    "whisper": ("Whisper", dict(
        BART, num_mel_bins=12, max_source_positions=10, max_target_positions=32,
        begin_suppress_tokens=None, suppress_tokens=None), "sdpa"),
}
MEL, FRAMES = 12, 20
# Case: (batch, new tokens, past, padding of each row's past on the left, source
# length, real source tokens of each row).
CASES = {"b1-s6-p0": (1, 6, 0, 7, [7]),
         "b2-s3-p0": (2, 3, 0, 12, [12, 5]),
         "b3-s1-p9": (3, 1, 9, 10, [10, 4, 1]),
         "b2-s4-p5": (2, 4, 5, 6, [6, 6])}


def builder(prefix, fields):
    def build(attention):
        config = getattr(tf, prefix + "Config")(**fields, attn_implementation=attention)
        return getattr(tf, prefix + "ForConditionalGeneration")(config)
    return build


def source_mask(rows, length):
    return (np.arange(length)[None] < np.array(rows)[:, None]).astype(np.int64)


def decoder_case(name, case, caches, inputs, width=64):
    batch, new, past, source, rows = CASES[case]
    if name.startswith("whisper"):
        source = FRAMES // 2
    rng = feeds.generator(f"{name}-decoder", case)
    feed = {"decoder_input_ids": rng.integers(3, VOCAB, (batch, new), np.int64),
            "encoder_hidden_states": rng.standard_normal((batch, source, width), np.float32),
            "encoder_attention_mask": source_mask(rows, source),
            "decoder_attention_mask": np.ones((batch, past + new), np.int64)}
    for key, heads, size in caches:
        length = source if ".encoder." in key else past
        feed[key] = rng.standard_normal((batch, heads, length, size), np.float32)
    return {k: feed[k] for k in inputs}


def call_encoder(model, feed):
    return model.get_encoder()(**feed).last_hidden_state


def masks_of(feed):
    masks = {}
    if "encoder_attention_mask" in feed:
        masks["attention_mask"] = feed["encoder_attention_mask"]
    if "decoder_attention_mask" in feed:
        masks["decoder_attention_mask"] = feed["decoder_attention_mask"]
    return masks


def call_first(model, feed):
    """The decoder without past: makes the caches of itself and of the source."""
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    out = model(decoder_input_ids=feed["decoder_input_ids"], **masks_of(feed),
                encoder_outputs=BaseModelOutput(feed["encoder_hidden_states"]),
                past_key_values=cache, use_cache=True)
    present = []
    for own, cross in zip(out.past_key_values.self_attention_cache.layers,
                          out.past_key_values.cross_attention_cache.layers):
        present += [own.keys, own.values, cross.keys, cross.values]
    return (out.logits, *present)


def call_next(model, feed):
    """The decoder with past; the keys of the source come from outside and stay."""
    past = [v for k, v in feed.items() if k.startswith("past_")]
    own = DynamicCache([(past[i], past[i + 1]) for i in range(0, len(past), 4)])
    cross = DynamicCache([(past[i + 2], past[i + 3]) for i in range(0, len(past), 4)])
    out = model(decoder_input_ids=feed["decoder_input_ids"], **masks_of(feed),
                encoder_outputs=BaseModelOutput(feed["encoder_hidden_states"])
                if "encoder_hidden_states" in feed else BaseModelOutput(
                    past[2].new_zeros(past[2].shape[0], past[2].shape[2], 64)),
                past_key_values=EncoderDecoderCache(own, cross), use_cache=True)
    present = []
    for layer in out.past_key_values.self_attention_cache.layers:
        present += [layer.keys, layer.values]
    return (out.logits, *present)


def call_both(model, feed):
    return model(**feed, use_cache=False).logits


def families(table=None):
    for name, (prefix, fields, attention) in (table or SEQ2SEQ).items():
        build, speech = builder(prefix, fields), prefix == "Whisper"
        width = fields["d_model"]
        heads = fields.get("num_heads") or fields["decoder_attention_heads"]
        source = ["input_features"] if speech else ["input_ids", "attention_mask"]
        exports = [(*D20, attention), (*L17, attention)]
        decoder_axes = {"logits": ["batch", "decoder_sequence"],
                        "decoder_attention_mask": ["batch", "total_sequence"]}
        if speech:
            decoder_axes["encoder_hidden_states"] = ["batch"]

        def sources(name=name, speech=speech):
            if not speech:
                return {case: {k: v for k, v in feeds.text(name, case, VOCAB).items()
                               if k != "token_type_ids"} for case in feeds.TEXT}
            return {f"b{n}": {"input_features": feeds.generator(name, f"b{n}").standard_normal(
                (n, MEL, FRAMES), np.float32)} for n in (1, 2, 5)}

        def real_source(feed, output, value, speech=speech):
            return True if speech else feeds.real_tokens(feed, output, value)
        yield Family(
            f"{name}-encoder", name, build, source, ["last_hidden_state"], call_encoder, sources,
            exports, {"last_hidden_state": ["batch"]} if speech else {}, real_source)

        layers = [f"{i}.{side}.{kv}" for i in range(2) for side in ("decoder", "encoder")
                  for kv in ("key", "value")]
        mask = [] if speech else ["encoder_attention_mask"]
        first = ["decoder_input_ids", "encoder_hidden_states", *mask]
        yield Family(
            f"{name}-decoder", name, build, first,
            ["logits", *(f"present.{n}" for n in layers)], call_first,
            lambda name=name, first=first, width=width: {
                case: decoder_case(name, case, [], first, width) for case in CASES if "p0" in case
                or case == "b2-s4-p5"}, exports,
            {**decoder_axes, **{f"present.{n}": ["batch", None, "decoder_sequence" if
                                                 ".decoder." in n else "sequence"]
                                for n in layers}}, real_cross(speech), example=1)

        pasts = [f"past_key_values.{n}" for n in layers]
        caches = [(p, heads, 16) for p in pasts]
        own = [n for n in layers if ".decoder." in n]
        second = ["decoder_input_ids", *mask, *pasts]
        past_axes = {p: ["batch", None, "past_sequence" if ".decoder." in p else
                         "sequence"] for p in pasts}
        if speech:
            past_axes.update({p: ["batch"] for p in pasts if ".encoder." in p})
        yield Family(
            f"{name}-decoder-kv", name, build, second,
            ["logits", *(f"present.{n}" for n in own)], call_next,
            lambda name=name, caches=caches, second=second: {
                case: decoder_case(name, case, caches, second) for case in CASES},
            exports, {**decoder_axes, **past_axes, **{
                f"present.{n}": ["batch", None, "total_sequence"] for n in own}}, example=3)

        whole = [*source, "decoder_input_ids"]

        def both(name=name, sources=sources, whole=whole):
            every = {}
            for (case, feed), new in zip(sources().items(), (4, 7, 3)):
                batch = len(next(iter(feed.values())))
                rng = feeds.generator(f"{name}-both", case)
                ids = rng.integers(3, VOCAB, (batch, new), np.int64)
                every[f"{case}-d{new}"] = {**feed, "decoder_input_ids": ids}
            return every
        yield Family(f"{name}-both", name, build, whole, ["logits"], call_both, both, exports,
                     decoder_axes)


def real_cross(speech):
    """Keys of the source count where the source is real."""
    def real(feed, output, value):
        if speech or ".encoder." not in output:
            return True
        return feed["encoder_attention_mask"].astype(bool)[:, None, :, None]
    return real
