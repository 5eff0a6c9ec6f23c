"""The models of the checks of CUDA code: between them they have every kind of kernel."""

# run_cuda.py: compiled for the CPU and run as on a GPU.
CHECKED = [
    "bert.torchscript-17-sdpa",
    "bert-f16.dynamo-20-sdpa",
    "bert-bf16.dynamo-20-sdpa",
    "bert-qdq-int8",
    "gpt2.dynamo-20-sdpa",
    "llama-kv.torchscript-17-sdpa",
    "mixtral-kv.dynamo-20-sdpa",
]

# check_kernels.py: compiled by NVIDIA's compiler, with options where there are any.
COMPILED = [
    "bert.torchscript-17-sdpa",
    "bert-f16.dynamo-20-sdpa",
    "bert-bf16.dynamo-20-sdpa",
    "bert-qdq-int8",
    "gemma2-kv.dynamo-20-eager",
    "llama-kv.torchscript-17-sdpa",
    "mixtral-kv.dynamo-20-sdpa",
    "llama.dynamo-20-sdpa --quantize=w4a8g32-asym",
    "llama.dynamo-20-sdpa --quantize=w3g32 --kv=int8 --sparsify=bigbird:window=1,block=16",
    "bert-f16.dynamo-20-sdpa --sparsify=bigbird:window=1,block=64",
    "wide-f16",
    "wide128-bf16",
    "wide-f16 --sparsify=bigbird:window=1,block=128",
]
