"""Encoders of images, alone and beside text."""
import numpy as np
import torch
import transformers as tf

from . import feeds
from .family import Family

BODY = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96)
IMAGE = dict(BODY, image_size=32, patch_size=8)
WORDS = dict(BODY, vocab_size=101, max_position_embeddings=32, bos_token_id=1,
             eos_token_id=100, pad_token_id=0)
D20, D18, D23 = ("dynamo", 20), ("dynamo", 18), ("dynamo", 23)
L17, L14 = ("torchscript", 17), ("torchscript", 14)

# Family -> (class prefix, configuration, attention, exports).
VISION = {
    "deit": ("DeiT", IMAGE, "sdpa", [D20, L17]),
    "dinov2": ("Dinov2", dict(IMAGE, mlp_ratio=2, layerscale_value=1.0), "sdpa", [D20, L17]),
    # Two stages of two blocks, the second of each pair with shifted windows; 14 by 14
    # patches in windows of 4 need padding.
    "swin": ("Swin", dict(image_size=28, patch_size=2, embed_dim=24, depths=[2, 2],
                          num_heads=[2, 4], window_size=4), "eager", [D20, D18, L17]),
    "swin-sdpa": ("Swin", dict(image_size=32, patch_size=2, embed_dim=24, depths=[2, 2],
                               num_heads=[2, 4], window_size=4), "sdpa", [D20]),
}


def image_builder(prefix, fields):
    def build(attention):
        config = getattr(tf, prefix + "Config")(**fields, attn_implementation=attention)
        return getattr(tf, prefix + "Model")(config)
    return build


def two_towers(prefix):
    def build(attention):
        text = dict(WORDS)
        if prefix == "Siglip":
            text["projection_size"] = 64
        config = getattr(tf, prefix + "Config")(
            text_config=text, vision_config=dict(IMAGE), projection_dim=48,
            attn_implementation=attention)
        return getattr(tf, prefix + "Model")(config)
    return build


def words(seed, case, prefix):
    """Sentences that end with the end token; CLIP pools the state of the first one."""
    feed = feeds.text(seed, case, 99)
    ids, mask = feed["input_ids"], feed["attention_mask"].astype(bool)
    last = np.where(mask, np.arange(ids.shape[1]), -1).max(1)
    ids[np.arange(len(ids)), last] = 100
    if prefix == "Siglip":  # always padded to its length, without a mask
        return {"input_ids": ids}
    return {"input_ids": ids, "attention_mask": feed["attention_mask"]}


def towers(name, prefix):
    build = two_towers(prefix)
    text_inputs = ["input_ids"] + ["attention_mask"] * (prefix == "Clip" or prefix == "CLIP")
    exports = [(*D20, "sdpa"), (*L17, "sdpa")]
    length = {"input_ids": ["batch", None]} if prefix == "Siglip" else {}

    def text_cases():
        if prefix != "Siglip":
            return {case: words(name, case, prefix) for case in feeds.TEXT}
        every = {}
        for batch in (1, 2, 5):
            rng = feeds.generator(name, f"text b{batch}")
            every[f"b{batch}"] = {"input_ids": rng.integers(3, 100, (batch, 32), np.int64)}
        return every

    def call_text(model, feed):
        out = model.text_model(**feed)
        return out.last_hidden_state, out.pooler_output

    def call_image(model, feed):
        out = model.vision_model(**feed)
        return out.last_hidden_state, out.pooler_output

    def call_both(model, feed):
        out = model(**feed)
        return out.logits_per_image, out.text_embeds, out.image_embeds

    def both_cases():
        pictures = feeds.images(f"{name}-both", (1, 2, 3), (3, 32, 32))
        return {f"{case}-{images}": {**feed, **pictures[images]} for (case, feed), images in
                zip(text_cases().items(), ("b1", "b3", "b2"))}

    def real(feed, output, value):
        if output != "last_hidden_state" or "attention_mask" not in feed:
            return True
        return feeds.real_tokens(feed, output, value)
    hidden = ["last_hidden_state", "pooler_output"]
    image_axes = {"last_hidden_state": ["batch"]}
    yield Family(f"{name}-text", name, build, text_inputs, hidden, call_text, text_cases,
                 exports, dict(length), real)
    yield Family(f"{name}-vision", name, build, ["pixel_values"], hidden, call_image,
                 lambda: feeds.images(name, (1, 2, 5), (3, 32, 32)), exports, image_axes)
    yield Family(f"{name}-both", name, build, [*text_inputs, "pixel_values"],
                 ["logits_per_image", "text_embeds", "image_embeds"], call_both, both_cases,
                 exports, dict(length, pixel_values=["images"], logits_per_image=["images", "batch"],
                               image_embeds=["images"]))


def families():
    for name, (prefix, fields, attention, exports) in VISION.items():
        size = fields["image_size"]

        def call(model, feed):
            out = model(**feed)
            return out.last_hidden_state, out.pooler_output
        yield Family(
            name, name, image_builder(prefix, fields), ["pixel_values"],
            ["last_hidden_state", "pooler_output"], call,
            lambda name=name, size=size: feeds.images(name, (1, 2, 5), (3, size, size)),
            [(*e, attention) for e in exports], {"last_hidden_state": ["batch"]},
            fill=True)
    yield from towers("clip", "CLIP")
    yield from towers("siglip", "Siglip")
