"""Graphs that other tools make of the exports: ONNX Runtime's optimizers, the fusions
of onnxscript, decoders in the manner of onnxruntime-genai and merged decoders.

They are compared with the references of the family that they come from; inputs that
they lack are left out there.
"""
import pathlib
import tempfile

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from . import decoders, feeds, files, seq2seq
from .family import BOUND, MODELS, REFERENCES, Family, check, export, outputs_of


def ort_optimizer(kind, **options):
    """onnxruntime.transformers.optimizer, as its users call it."""
    def rewrite(source):
        from onnxruntime.transformers import optimizer
        return optimizer.optimize_model(
            str(source), model_type=kind, num_heads=4, hidden_size=64, opt_level=0,
            only_onnxruntime=False, **options).model
    return rewrite


def ort_session(source):
    """What a session of ONNX Runtime saves at the extended level."""
    import onnxruntime as ort
    with tempfile.TemporaryDirectory() as scratch:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(pathlib.Path(scratch) / "model.onnx")
        ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def ort_fusions(source):
    """The rewrite rules of onnxscript for ONNX Runtime."""
    import onnx_ir as ir
    from onnxscript.rewriter.ort_fusions import optimize_for_ort
    model = ir.load(source)
    result = optimize_for_ort(model)
    model = result[0] if isinstance(result, tuple) else result
    return ir.to_proto(model)


# (result, group of the weights, source, rewriting).
REWRITTEN = [
    ("bert.ort-optimizer-17-eager", "bert", "bert.torchscript-17-eager", ort_optimizer("bert")),
    ("gpt2.ort-optimizer-17-sdpa", "gpt2", "gpt2.torchscript-17-sdpa", ort_optimizer("gpt2")),
    ("vit.ort-optimizer-17-sdpa", "vit", "vit.torchscript-17-sdpa", ort_optimizer("vit")),
    ("bart-both.ort-optimizer-17-sdpa", "bart", "bart-both.torchscript-17-sdpa",
     ort_optimizer("bart")),
    ("bert.ort-extended-20-sdpa", "bert", "bert.dynamo-20-sdpa", ort_session),
    ("llama-kv.ort-extended-20-sdpa", "llama", "llama-kv.dynamo-20-sdpa", ort_session),
    ("gpt2-kv.ort-extended-20-sdpa", "gpt2", "gpt2-kv.dynamo-20-sdpa", ort_session),
    ("bert.onnxscript-20-sdpa", "bert", "bert.dynamo-20-sdpa", ort_fusions),
    ("llama-kv.onnxscript-20-sdpa", "llama", "llama-kv.dynamo-20-sdpa", ort_fusions),
    ("qwen3-kv.onnxscript-20-sdpa", "qwen3", "qwen3-kv.dynamo-20-sdpa", ort_fusions),
    ("phi2-kv.onnxscript-20-sdpa", "phi2", "phi2-kv.dynamo-20-sdpa", ort_fusions),
    ("whisper-encoder.onnxscript-20-sdpa", "whisper", "whisper-encoder.dynamo-20-sdpa",
     ort_fusions),
    ("whisper-decoder-kv.onnxscript-20-sdpa", "whisper", "whisper-decoder-kv.dynamo-20-sdpa",
     ort_fusions),
]


# Cases that the rewriting itself breaks: EmbedLayerNormalization counts the mask, and
# Attention then takes that many keys from the left.
NOT_HELD = {"bert.ort-optimizer-17-eager": ["b4-s37-left"]}


def load_references(family):
    found = {}
    for path in sorted(REFERENCES.glob(f"{family}.*.npz")):
        with np.load(path) as file:
            parts = {kind: {n[len(kind) + 1:]: file[n] for n in file.files
                            if n.startswith(kind + ".")} for kind in ("in", "out")}
        found[path.name.split(".")[1]] = parts["in"], parts["out"]
    return found


def save(name, group, model, references):
    files.strip(model)
    weights = files.Weights(MODELS / f"{group}.weights", extend=True)
    weights.take(model)
    onnx.save(model, MODELS / f"{name}.onnx")
    weights.save()
    return check(MODELS / f"{name}.onnx", references, BOUND[torch.float32])


def make_rewritten(only):
    good = True
    for name, group, source, rewrite in REWRITTEN:
        if only not in name:
            continue
        try:
            with tempfile.TemporaryDirectory() as scratch:
                whole = pathlib.Path(scratch) / "whole.onnx"  # its tensors inside
                onnx.save(onnx.load(MODELS / f"{source}.onnx"), whole)
                model = rewrite(whole)
            known = {o.domain for o in model.opset_import}
            for domain in {n.domain for n in model.graph.node} - known - {""}:
                model.opset_import.append(helper.make_opsetid(domain, 1))
        except Exception as error:
            print(f"{name:44s} NOT MADE {type(error).__name__}: {str(error)[:200]}", flush=True)
            good = False
            continue
        references = load_references(source.split(".")[0])
        for case in NOT_HELD.get(name, ()):
            references.pop(case)
        good &= save(name, group, model, references)
    return good


# -- A decoder of GroupQueryAttention, in the manner of onnxruntime-genai ------------

GENAI_CASES = {  # new tokens, past, real columns of each row (past and new together)
    "b1-s8-p0": (8, 0, [8]), "b3-s5-p0-right": (5, 0, [5, 3, 1]),
    "b2-s1-p7": (1, 7, [8, 8]), "b1-s3-p6": (3, 6, [9]),
    "b3-s1-p9-ragged": (1, 9, [10, 6, 2])}


def genai_references(llama):
    """Each row's cache lies at the front: the next key follows the row's last one."""
    module = llama.module("eager").float()
    heads, size, references = 2, 16, {}
    pasts = [n for n in llama.inputs if n.startswith("past_")]
    for case, (new, past, lengths) in GENAI_CASES.items():
        rng = feeds.generator("llama-genai", case)
        batch = len(lengths)
        feed = {"input_ids": rng.integers(3, decoders.VOCAB, (batch, new), np.int64),
                "attention_mask": (np.arange(past + new)[None] <
                                   np.array(lengths)[:, None]).astype(np.int64)}
        for name in pasts:
            feed[name] = rng.standard_normal((batch, heads, past, size), np.float32)
        want = {n: np.full((batch, new, decoders.VOCAB) if n == "logits" else
                           (batch, heads, past + new, size), np.nan, np.float32)
                for n in llama.outputs}
        for row, length in enumerate(lengths):
            # Alone and without padding; of a prompt the first `length` tokens.
            tokens = min(new, length)
            before = length - tokens
            alone = {"input_ids": feed["input_ids"][row:row + 1, :tokens],
                     "attention_mask": np.ones((1, length), np.int64),
                     "position_ids": np.arange(before, length, dtype=np.int64)[None]}
            for name in pasts:
                alone[name] = feed[name][row:row + 1, :, :before]
            answer = outputs_of(llama, module, alone)
            want["logits"][row, :tokens] = answer["logits"][0]
            for name in llama.outputs[1:]:
                want[name][row, :, :length] = answer[name][0]
        references[case] = feed, want
        np.savez_compressed(REFERENCES / f"llama-genai.{case}.npz",
                            **{f"in.{n}": v for n, v in feed.items()},
                            **{f"out.{n}": v for n, v in want.items()})
    return references


def genai_graph(llama):
    weights = {n.removeprefix("model."): p.detach().numpy()
               for n, p in llama.module("eager").named_parameters()}
    nodes, tensors, counter = [], [], iter(range(10**6))

    def constant(name, value):
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(op, inputs, outputs=1, domain="", **attributes):
        name = f"{op}_{next(counter)}"
        made = outputs if isinstance(outputs, list) else [f"{name}_out"]
        nodes.append(helper.make_node(op, inputs, made, name=name, domain=domain, **attributes))
        return made[0]

    def project(x, *names):
        key = names[0].replace(".weight", "") + (".packed" if len(names) > 1 else "")
        matrix = np.concatenate([weights[n] for n in names]).T
        return node("MatMul", [x, constant(key, matrix)])
    half = 8
    angles = np.outer(np.arange(64), 1e4 ** (-np.arange(half) / half)).astype(np.float32)
    constant("cos_cache", np.cos(angles)), constant("sin_cache", np.sin(angles))
    axes, one = constant("axes", np.array([1], np.int64)), constant("one", np.array([1], np.int64))
    total = node("ReduceSum", ["attention_mask", axes], keepdims=0)
    seqlens = node("Cast", [node("Sub", [total, one])], to=TensorProto.INT32)
    shape = node("Shape", ["attention_mask"])
    columns = node("Gather", [shape, constant("second", np.array(1, np.int64))])
    longest = node("Cast", [columns], to=TensorProto.INT32)
    hidden = node("Gather", [constant("embedding", weights["model.embed_tokens.weight"]),
                             "input_ids"])
    skip, norm = None, dict(epsilon=1e-6, stash_type=1)

    def normed(x, name):
        """The norm of hidden + x; SkipSimplifiedLayerNormalization but for the first."""
        weight = constant(name, weights[name])
        if x is None:
            return hidden, node("SimplifiedLayerNormalization", [hidden, weight], axis=-1, **norm)
        out = [f"{name}.normed", "", "", f"{name}.sum"]
        node("SkipSimplifiedLayerNormalization", [skip, x, weight], out,
             domain="com.microsoft", epsilon=1e-6)
        return out[3], out[0]
    x = None
    for i in range(2):
        at = f"model.layers.{i}."
        skip, y = normed(x, at + "input_layernorm.weight")
        qkv = project(y, *(f"{at}self_attn.{p}_proj.weight" for p in "qkv"))
        out = [f"attention.{i}", f"present.{i}.key", f"present.{i}.value"]
        node("GroupQueryAttention",
             [qkv, "", "", f"past_key_values.{i}.key", f"past_key_values.{i}.value", seqlens,
              longest, "cos_cache", "sin_cache", "", "", ""], out, domain="com.microsoft",
             num_heads=4, kv_num_heads=2, scale=0.25, softcap=0.0, do_rotary=1,
             rotary_interleaved=0, local_window_size=-1)
        skip, y = normed(project(out[0], at + "self_attn.o_proj.weight"),
                         at + "post_attention_layernorm.weight")
        gate = project(y, at + "mlp.gate_proj.weight")
        gate = node("Mul", [gate, node("Sigmoid", [gate])])
        up = node("Mul", [gate, project(y, at + "mlp.up_proj.weight")])
        x = project(up, at + "mlp.down_proj.weight")
    _, y = normed(x, "model.norm.weight")
    nodes.append(helper.make_node(
        "MatMul", [y, constant("lm_head", weights["lm_head.weight"].T)], ["logits"],
        name="lm_head"))
    info = helper.make_tensor_value_info
    cache = ["batch_size", 2, "past_sequence_length", 16]
    after = ["batch_size", 2, "total_sequence_length", 16]
    pasts = [n for n in llama.inputs if n.startswith("past_")]
    graph = helper.make_graph(
        nodes, "genai",
        [info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]),
         info("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]),
         *(info(n, TensorProto.FLOAT, cache) for n in pasts)],
        [info("logits", TensorProto.FLOAT, ["batch_size", "sequence_length", decoders.VOCAB]),
         *(info(n, TensorProto.FLOAT, after) for n in llama.outputs[1:])], tensors)
    return helper.make_model(graph, ir_version=10, opset_imports=[
        helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)])


# -- A merged decoder: If(use_cache_branch) over two exports -------------------------

def renamed(graph, prefix, kept):
    """The nodes of a graph with names of their own for all but `kept`."""
    def name(old):
        return old if old in kept or not old else prefix + old
    for node in graph.node:
        node.name = prefix + node.name
        node.input[:] = [name(n) for n in node.input]
        node.output[:] = [name(n) for n in node.output]
    return graph.node


def merged_graph(first, then):
    """`first` has no past; shared initializers, of the same bytes, lie outside."""
    outside, known = [], {}
    branches = []
    for prefix, model in (("first.", first), ("then.", then)):
        graph, moved = model.graph, {}
        for tensor in graph.initializer:
            key = (tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes())
            if key not in known:
                known[key] = copy = onnx.TensorProto()
                copy.CopyFrom(tensor)
                copy.name = f"shared.{len(outside)}.{tensor.name}"
                outside.append(copy)
            moved[tensor.name] = known[key].name
        for node in graph.node:
            node.input[:] = [moved.get(n, n) for n in node.input]
        kept = {i.name for i in then.graph.input} | {t.name for t in outside}
        nodes = renamed(graph, prefix, kept)
        outputs = [helper.make_tensor_value_info(
            prefix + o.name, o.type.tensor_type.elem_type, None) for o in graph.output]
        branches.append(helper.make_graph(nodes, prefix + "branch", [], outputs))
    node = helper.make_node(
        "If", ["use_cache_branch"], [o.name for o in then.graph.output], name="optimum::if",
        then_branch=branches[1], else_branch=branches[0])
    flag = helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])
    graph = helper.make_graph([node], "merged", [*then.graph.input, flag], then.graph.output,
                              outside)
    return helper.make_model(graph, ir_version=then.ir_version, opset_imports=then.opset_import)


def make_merged(llama):
    """Of Llama, TorchScript as optimum makes it."""
    inputs = ["input_ids", "attention_mask", "position_ids"]
    axes = {**llama.axes, "attention_mask": ["batch", "sequence"]}
    start = Family("llama-first", "llama", llama.build, inputs, llama.outputs,
                   decoders.call_cached, None, [], axes, feeds.real_tokens)
    cases = llama.cases()
    whole = cases["b3-s5-p0-left"]
    first = export(start, {n: whole[n] for n in inputs}, "torchscript", 17, "sdpa")
    then = export(llama, cases["b3-s4-p9-right"], "torchscript", 17, "sdpa")
    references = {}
    for case, (feed, want) in load_references("llama-kv").items():
        use = feed["past_key_values.0.key"].shape[2] > 0
        references[case] = {**feed, "use_cache_branch": np.array([use])}, want
        np.savez_compressed(REFERENCES / f"llama-merged.{case}.npz",
                            **{f"in.{n}": v for n, v in references[case][0].items()},
                            **{f"out.{n}": v for n, v in want.items()})
    return save("llama-merged.optimum-17-sdpa", "llama", merged_graph(first, then), references)


# -- A merged decoder of an encoder-decoder, whose past has the source in it ----------

def seq2seq_family(name):
    return {f.name: f for f in seq2seq.families()}[name]


def merged_source(group):
    """Of T5 or BART, as optimum makes it: what the cache branch gives for the keys of
    the source are those that it was given."""
    first, then = seq2seq_family(f"{group}-decoder"), seq2seq_family(f"{group}-decoder-kv")
    models = [export(f, f.cases()["b2-s4-p5"], "torchscript", 17, "sdpa") for f in (first, then)]
    graph, outputs = models[1].graph, {o.name: o for o in models[1].graph.output}
    for output in models[0].graph.output:
        if output.name not in outputs:
            graph.node.append(helper.make_node(
                "Identity", [output.name.replace("present", "past_key_values")], [output.name],
                name=f"kept.{output.name}"))
            outputs[output.name] = output
    del graph.output[:]
    graph.output.extend(outputs[o.name] for o in models[0].graph.output)
    graph.input.extend(i for i in models[0].graph.input
                       if i.name not in {j.name for j in graph.input})
    references = {}
    for use, family in ((False, first), (True, then)):
        for case, (feed, want) in load_references(family.name).items():
            every = dict(decoder_feed(group, case, then), **feed,
                         use_cache_branch=np.array([use]))
            references[f"{case}-{'then' if use else 'first'}"] = every, want
    for case, (feed, want) in references.items():
        np.savez_compressed(REFERENCES / f"{group}-decoder-merged.{case}.npz",
                            **{f"in.{n}": v for n, v in feed.items()},
                            **{f"out.{n}": v for n, v in want.items()})
    return save(f"{group}-decoder-merged.optimum-17-sdpa", group, merged_graph(*models),
                references)


def decoder_feed(group, case, then):
    """All inputs of both branches; those of the other one are not looked at."""
    name = case if case in seq2seq.CASES else "b2-s4-p5"
    caches = [(n, 4, 16) for n in then.inputs if n.startswith("past_")]
    return seq2seq.decoder_case(group, name, caches,
                                [*then.inputs, "encoder_hidden_states"])


# -- GPT-2's stacked past: [2, batch, heads, tokens, size] ----------------------------

def stacked_graph(model):
    graph, nodes, layer = model.graph, [], 0
    inputs = [i for i in graph.input if not i.name.startswith("past_")]
    outputs = [o for o in graph.output if not o.name.startswith("present")]
    shape = [2, "batch", 4, "past_sequence", 16]
    for part in (0, 1):
        graph.initializer.append(numpy_helper.from_array(np.array(part, np.int64), f"half.{part}"))
    graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "first.axis"))
    tail = []
    while any(i.name == f"past_key_values.{layer}.key" for i in graph.input):
        parts = []
        for part, kind in enumerate(("key", "value")):
            nodes.append(helper.make_node(
                "Gather", [f"past_{layer}", f"half.{part}"], [f"past_key_values.{layer}.{kind}"],
                name=f"half.{layer}.{kind}", axis=0))
            parts.append(f"one.{layer}.{kind}")
            tail.append(helper.make_node(
                "Unsqueeze", [f"present.{layer}.{kind}", "first.axis"], [parts[-1]],
                name=parts[-1]))
        tail.append(helper.make_node("Concat", parts, [f"present_{layer}"],
                                     name=f"both.{layer}", axis=0))
        inputs.append(helper.make_tensor_value_info(f"past_{layer}", TensorProto.FLOAT, shape))
        outputs.append(helper.make_tensor_value_info(f"present_{layer}", TensorProto.FLOAT, [
            *shape[:3], "total_sequence", 16]))
        layer += 1
    nodes += [*graph.node, *tail]
    for field, new in ((graph.node, nodes), (graph.input, inputs), (graph.output, outputs)):
        del field[:]
        field.extend(new)
    return model


def make_stacked(gpt2):
    model = export(gpt2, gpt2.cases()["b3-s4-p9-right"], "torchscript", 17, "sdpa")
    references = {}
    for case, parts in load_references("gpt2-kv").items():
        feed, want = ({n: v for n, v in p.items() if "key" not in n and "value" not in n}
                      for p in parts)
        for layer in range(2):
            for new, old, given in ((feed, "past_key_values", parts[0]),
                                    (want, "present", parts[1])):
                new[f"{old.split('_')[0]}_{layer}"] = np.stack(
                    [given[f"{old}.{layer}.{kind}"] for kind in ("key", "value")])
        references[case] = feed, want
        np.savez_compressed(REFERENCES / f"gpt2-stacked.{case}.npz",
                            **{f"in.{n}": v for n, v in feed.items()},
                            **{f"out.{n}": v for n, v in want.items()})
    return save("gpt2-stacked.torchscript-17-kv", "gpt2", stacked_graph(model), references)


# -- Caches of a fixed size, written at the end of what is there ----------------------

PLACES = 64
STATIC_CASES = {  # new tokens, past of each row
    "b1-s8-p0": (8, [0]), "b2-s1-p7-p3": (1, [7, 3]), "b3-s4-p9-p0-p5": (4, [9, 0, 5])}
PLACED_CASES = {"b1-s8-p0": (8, [0]), "b2-s1-p7": (1, [7, 7]), "b2-s4-p9": (4, [9, 9])}


def static_references(llama, family, cases):
    """Rows of the cache lie at the front; what is behind them is anything."""
    module = llama.module("eager").float()
    heads, size, references = 2, 16, {}
    pasts = [n for n in llama.inputs if n.startswith("past_")]
    for case, (new, before) in cases.items():
        rng = feeds.generator(family, case)
        batch = len(before)
        feed = {"input_ids": rng.integers(3, decoders.VOCAB, (batch, new), np.int64),
                "write_indices": np.array(before, np.int64)}
        if cases is PLACED_CASES:
            feed["cache_position"] = feed.pop("write_indices")[0] + np.arange(new)
        for name in pasts:
            feed[name] = rng.standard_normal((batch, heads, PLACES, size), np.float32)
        want = {n: np.full((batch, new, decoders.VOCAB) if n == "logits" else
                           (batch, heads, PLACES, size), np.nan, np.float32)
                for n in llama.outputs}
        for row, past in enumerate(before):
            alone = {"input_ids": feed["input_ids"][row:row + 1],
                     "attention_mask": np.ones((1, past + new), np.int64),
                     "position_ids": np.arange(past, past + new, dtype=np.int64)[None]}
            for name in pasts:
                alone[name] = feed[name][row:row + 1, :, :past]
            answer = outputs_of(llama, module, alone)
            want["logits"][row] = answer["logits"][0]
            for name in llama.outputs[1:]:
                want[name][row, :, :past + new] = answer[name][0]
        references[case] = feed, want
        np.savez_compressed(REFERENCES / f"{family}.{case}.npz",
                            **{f"in.{n}": v for n, v in feed.items()},
                            **{f"out.{n}": v for n, v in want.items()})
    return references


def static_graph(llama, placed=False):
    """Opset 24: TensorScatter writes, Attention is told how much is there. `placed`: as
    exporters of torch write a static cache, by positions and with a mask of them."""
    weights = {n.removeprefix("model."): p.detach().numpy()
               for n, p in llama.module("eager").named_parameters()}
    nodes, tensors, counter = [], [], iter(range(10**6))

    def constant(name, value):
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(op, inputs, outputs=None, **attributes):
        name = f"{op}_{next(counter)}"
        made = outputs or [f"{name}_out"]
        nodes.append(helper.make_node(op, inputs, made, name=name, **attributes))
        return made[0]

    def project(x, name):
        return node("MatMul", [x, constant(name, weights[name].T)])

    def normed(x, name):
        return node("RMSNormalization", [x, constant(name, weights[name])], axis=-1, epsilon=1e-6)

    def heads(x, count):
        shape = constant(f"shape.{next(counter)}", np.array([0, 0, count, 16], np.int64))
        return node("Transpose", [node("Reshape", [x, shape])], perm=[0, 2, 1, 3])
    angles = np.outer(np.arange(PLACES), 1e4 ** (-np.arange(8) / 8)).astype(np.float32)
    constant("cos", np.cos(angles)), constant("sin", np.sin(angles))
    tokens = node("Shape", ["input_ids"], start=1, end=2)
    scalar = node("Squeeze", [tokens])
    new = node("Range", [constant("zero", np.array(0, np.int64)), scalar,
                         constant("step", np.array(1, np.int64))])
    constant("one", np.array([1], np.int64))
    if placed:
        row = node("Unsqueeze", ["cache_position", constant("none", np.array([0], np.int64))])
        positions = node("Expand", [row, node("Shape", ["input_ids"])])
        column = node("Unsqueeze", ["cache_position", "one"])
        seen = node("LessOrEqual", [constant("places", np.arange(PLACES)), column])
        mask = node("Where", [seen, constant("keep", np.float32(0)),
                              constant("drop", np.finfo(np.float32).min)])
        constant("pairs", np.array([1, 1, 2, 1, 1], np.int64))
        constant("two", np.array([2], np.int64)), constant("scale", np.float32(0.25))
        constant("repeated", np.array([0, 4, PLACES, 16], np.int64))
    else:
        begin = node("Unsqueeze", ["write_indices", "one"])
        positions = node("Add", [begin, new])
        length = node("Add", ["write_indices", tokens])

    def write(kind, layer, rows):
        past, present = f"past_key_values.{layer}.{kind}", f"present.{layer}.{kind}"
        if not placed:
            return node("TensorScatter", [past, rows, "write_indices"], [present], axis=2)
        turned, update = (node("Transpose", [t], perm=[2, 0, 1, 3]) for t in (past, rows))
        whole = node("ScatterND", [turned, column, update])
        return node("Transpose", [whole], [present], perm=[1, 2, 0, 3])

    def attend(q, k, v):
        if not placed:
            return node("Attention", [q, k, v, "", "", "", length], is_causal=1)
        k, v = (node("Reshape", [node("Expand", [node("Unsqueeze", [t, "two"]), "pairs"]),
                                 "repeated"]) for t in (k, v))
        scores = node("MatMul", [q, node("Transpose", [k], perm=[0, 1, 3, 2])])
        scores = node("Add", [node("Mul", [scores, "scale"]), mask])
        return node("MatMul", [node("Softmax", [scores], axis=-1), v])
    x = node("Gather", [constant("embedding", weights["model.embed_tokens.weight"]), "input_ids"])
    for i in range(2):
        at = f"model.layers.{i}."
        y = normed(x, at + "input_layernorm.weight")
        q, k, v = (heads(project(y, f"{at}self_attn.{p}_proj.weight"), n)
                   for p, n in (("q", 4), ("k", 2), ("v", 2)))
        q, k = (node("RotaryEmbedding", [t, "cos", "sin", positions]) for t in (q, k))
        o = attend(q, *(write(kind, i, t) for kind, t in (("key", k), ("value", v))))
        o = node("Reshape", [node("Transpose", [o], perm=[0, 2, 1, 3]),
                             constant(f"flat.{i}", np.array([0, 0, 64], np.int64))])
        x = node("Add", [x, project(o, at + "self_attn.o_proj.weight")])
        y = normed(x, at + "post_attention_layernorm.weight")
        gate = node("Swish", [project(y, at + "mlp.gate_proj.weight")])
        y = node("Mul", [gate, project(y, at + "mlp.up_proj.weight")])
        x = node("Add", [x, project(y, at + "mlp.down_proj.weight")])
    node("MatMul", [normed(x, "model.norm.weight"),
                    constant("lm_head", weights["lm_head.weight"].T)], ["logits"])
    info = helper.make_tensor_value_info
    cache = ["batch", 2, PLACES, 16]
    pasts = [n for n in llama.inputs if n.startswith("past_")]
    graph = helper.make_graph(
        nodes, "static",
        [info("input_ids", TensorProto.INT64, ["batch", "sequence"]),
         info("cache_position", TensorProto.INT64, ["sequence"]) if placed else
         info("write_indices", TensorProto.INT64, ["batch"]),
         *(info(n, TensorProto.FLOAT, cache) for n in pasts)],
        [info("logits", TensorProto.FLOAT, ["batch", "sequence", decoders.VOCAB]),
         *(info(n, TensorProto.FLOAT, cache) for n in llama.outputs[1:])], tensors)
    return helper.make_model(graph, ir_version=11, opset_imports=[helper.make_opsetid("", 24)])


def make(only=""):
    llama = {f.name: f for f in decoders.families(["llama"])}["llama-kv"]
    good = make_rewritten(only)
    if only in "llama-genai":
        good &= save("llama-genai.genai-21-gqa", "llama", genai_graph(llama),
                     genai_references(llama))
    if only in "llama-merged":
        good &= make_merged(llama)
    if only in "llama-static":
        good &= save("llama-static.onnx-24-kv", "llama", static_graph(llama),
                     static_references(llama, "llama-static", STATIC_CASES))
    if only in "llama-placed":
        good &= save("llama-placed.onnx-24-kv", "llama", static_graph(llama, placed=True),
                     static_references(llama, "llama-placed", PLACED_CASES))
    if only in "gpt2-stacked":
        good &= make_stacked({f.name: f for f in decoders.families(["gpt2"])}["gpt2-kv"])
    for group in ("t5", "bart"):
        if only in f"{group}-decoder-merged":
            good &= merged_source(group)
    return good
