//===- compiler.h - Compile models ------------------------------*- C -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The C API of libferrite_compiler.so, which `ferrite` opens for the commands
// compile, check and verify. This file is longer than others because options,
// and the JSON that comes back, are documented where they are. A program:
//
//   FerriteCompileOptions options = {sizeof options};
//   options.model = "minilm.onnx";
//   options.output = "minilm.so";
//   options.diagnostic = printDiagnostic;
//   FerriteCompileResult result = {sizeof result};
//   int32_t code = ferriteCompile(&options, &result); // result.summary: JSON
//   ferriteCompileResultDestroy(&result);
//
// It is longer than other files because each option is told where it is set.
// Rules that hold for every function:
// - Structs begin with their size; zero-initialise the rest, for zero is every
//   field's default. A size that the library does not know is a
//   FERRITE_COMPILE_USER_ERROR with a diagnostic that names both.
// - Strings handed in are UTF-8, are read during the call and stay the
// caller's.
//   A path is relative to the working directory.
// - What goes wrong is told through `diagnostic`, one line each, and by the
// value
//   returned; nothing is printed, and no exception leaves a function.
// - A function that fails leaves no output file: files are written under
// another
//   name in the same folder and renamed when whole.
// - One call at a time in a process: linking is lld's, which has global state.
//   Calls of other threads wait.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_COMPILER_H
#define FERRITE_COMPILER_H

#include "ferrite/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

//===----------------------------------------------------------------------===//
// Version
//===----------------------------------------------------------------------===//

#define FERRITE_COMPILER_API_VERSION 2

/// The FERRITE_COMPILER_API_VERSION that the library was built with. A program
/// that opens the library by name calls this first and refuses another one.
FERRITE_API uint32_t ferriteCompilerApiVersion(void);

/// The version of the compiler, "0.1.0", and of the LLVM in it, "22.1.8". Never
/// NULL; static.
FERRITE_API const char *ferriteCompilerVersion(void);
FERRITE_API const char *ferriteCompilerLLVMVersion(void);

//===----------------------------------------------------------------------===//
// What every call has
//===----------------------------------------------------------------------===//

/// What a function returns, and the exit code of `ferrite`.
typedef enum FerriteCompileStatus {
  FERRITE_COMPILE_OK = 0,
  FERRITE_COMPILE_USER_ERROR =
      1, /* the model, an option or the disk is at fault;
            a gate (--require-fusion, --max-error) failed */
  FERRITE_COMPILE_UNSUPPORTED = 2, /* valid, but not implemented */
  FERRITE_COMPILE_BUG = 3          /* ours */
} FerriteCompileStatus;

typedef enum FerriteSeverity {
  FERRITE_SEVERITY_ERROR = 0, /* the call will fail */
  FERRITE_SEVERITY_WARNING = 1,
  FERRITE_SEVERITY_NOTE = 2, /* belongs to the diagnostic before */
  FERRITE_SEVERITY_REMARK = 3
} FerriteSeverity;

/// Receives one diagnostic: one line without a prefix and without a newline,
/// that names the ONNX node or tensor, e.g. "node 'encoder/Add' (Add): expects
/// ...". `message` lives for the call. Called by the thread that called the
/// library.
typedef void (*FerriteDiagnostic)(void *data, FerriteSeverity severity,
                                  const char *message);

/// Told when `phase` ("import", ..., "link") begins and, in long phases, how
/// far it is: `done` of `total` steps, both 0 when unknown. Nonzero stops the
/// call: it returns FERRITE_COMPILE_USER_ERROR and leaves no file. Called by
/// the thread that called the library.
typedef int32_t (*FerriteProgress)(void *data, const char *phase, uint64_t done,
                                   uint64_t total);

/// What is known of a symbolic dimension: only sizes from `min` to `max` will
/// be run. min == max makes it a constant.
typedef struct FerriteDimBounds {
  const char *name;
  int64_t min;
  int64_t max; /* 0 or INT64_MAX: no limit */
} FerriteDimBounds;

/// An input that becomes a constant of the model, before anything else is
/// looked at: the compiled model does not have it. A value that decides about
/// shapes (the k of a TopK), or about the branch of an If, must be one.
typedef struct FerriteBinding {
  const char *name;
  /// Numbers, "true" or "false", separated by commas, as many as the input's
  /// shape says; or NULL.
  const char *text;
  /// Without `text`: the value, of the input's type and of a shape that it may
  /// have. 8- and 16-bit types that FerriteDType lacks are given as U8 and U16.
  FerriteTensor value;
} FerriteBinding;

//===----------------------------------------------------------------------===//
// Compile
//===----------------------------------------------------------------------===//

typedef enum FerriteEmit {
  FERRITE_EMIT_SO = 0,     /* a shared artifact: ferriteModelLoadFile */
  FERRITE_EMIT_STATIC = 1, /* OUT.a and OUT.h: ferriteModelOpen, no loader */
  FERRITE_EMIT_EXE = 2,    /* a program: `OUT run --inputs IN.npz` */
  FERRITE_EMIT_OBJ = 3,    /* one relocatable object of the code, no weights */
  FERRITE_EMIT_LLVM = 4,   /* its LLVM IR as text */
  FERRITE_EMIT_MLIR =
      5,                /* the IR after `compile_to`, default "plan", as text */
  FERRITE_EMIT_CUDA = 6 /* CUDA C++ for the first of `gpus`, as text */
} FerriteEmit;

/// What code is generated for.
typedef enum FerriteTarget {
  FERRITE_TARGET_CPU = 0,
  FERRITE_TARGET_CUDA = 1,    /* GPUs alone: no session runs on a CPU */
  FERRITE_TARGET_CPU_CUDA = 2 /* one artifact for both */
} FerriteTarget;

typedef enum FerriteWeightsMode {
  FERRITE_WEIGHTS_AUTO = 0,  /* embedded up to 1 GiB, else a file */
  FERRITE_WEIGHTS_EMBED = 1, /* in the artifact */
  FERRITE_WEIGHTS_FILE = 2   /* in `weights_path` beside the artifact */
} FerriteWeightsMode;

typedef struct FerriteCompileOptions {
  size_t size;        /* sizeof(FerriteCompileOptions) */
  const char *model;  /* an .onnx file; with compile_from, an .mlir file */
  const char *output; /* the file to write */
  const char *name;   /* the model's name, of which symbols are made; NULL: the
                         stem of `output` */
  int32_t emit;       /* FerriteEmit */
  int32_t weights_mode; /* FerriteWeightsMode */
  /// The file for the weights; NULL: `output` with the extension ".weights". It
  /// must lie in the folder of `output`. Only with FERRITE_WEIGHTS_FILE and
  /// _AUTO.
  const char *weights_path;
  /// CPU levels to generate code for ("avx2", "avx512", ...), any order; NULL
  /// and 0: all that are on by default. "native": the best that this machine
  /// has. An unknown name is a user error that lists the known ones.
  const char *const *levels;
  size_t level_count;
  const FerriteDimBounds *dims; /* a name that no input has is a user error */
  size_t dim_count;
  const FerriteBinding *bindings;
  size_t binding_count;
  /// Gates, each "KIND:all", "KIND:none" or "KIND:N" (at least N), e.g.
  /// "attention:all". A gate that fails is a user error that says why each
  /// candidate did not fuse.
  const char *const *require_fusion;
  size_t require_fusion_count;
  const char *report_path;  /* NULL: no report file. JSON: the summary, with a
                               record for every candidate of every fusion */
  const char *compile_to;   /* stop after this phase; NULL: "link" */
  const char *compile_from; /* `model` is a dump of this phase; NULL: ONNX */
  const char
      *dump_phases_to; /* a folder, made when missing, for one file
                          <name>.<number>.<phase>.mlir a phase; or NULL */
  /// The machine that choices between equal variants and predictions are for:
  /// a file that `ferrite tune` wrote, or "zen4", "zen5", "sapphire-rapids" or
  /// "generic"; NULL: what is known of the CPU that compiles.
  const char *profile;
  int32_t debug;   /* nonzero: line tables that lead to ONNX nodes */
  int32_t threads; /* 0: as many as this process has CPUs */
  /// Nonzero: the output `logits` [batch, sequence, vocabulary] becomes
  /// [batch, 1, vocabulary], that of the last position: of the last token where
  /// padding is on the left. Padding on the right is a last position, too.
  int32_t last_logits;
  int32_t target; /* FerriteTarget */
  /// GPU architectures ("sm_80", "sm_90a", ...), any order; NULL and 0: sm_80
  /// and sm_90a, and compute_80, which is PTX for later GPUs. Only with CUDA in
  /// `target`, or FERRITE_EMIT_CUDA.
  const char *const *gpus;
  size_t gpu_count;
  /// What the step entry of a decoder has besides tokens and logits. Each of
  /// these costs what it computes, and nothing where it is not asked for:
  ///   embeddings   takes `embeddings` [tokens, size], which count where
  ///                `embedded` [tokens] (bool) is true: in place of the rows
  ///                that token_ids name
  ///   hidden:N     gives the residual stream behind N layers (0: what the
  ///                first one gets) of the tokens in logit_rows,
  ///                [logits, size]; as many as the model has: behind the last
  ///   hidden:NODE  gives what the ONNX node of this name computes of them
  ///   lse:N        gives the logarithms of the sums of e^score, sinks
  ///                included, of the attention of layer N, [logits, heads]
  /// A model that has no step, or cannot have one like this, is refused.
  const char *const *step_with;
  size_t step_with_count;
  /// Step entries of the same weights and pages that leave layers out, for
  /// early exits and for guessing what the whole model says, the layers from 0:
  ///   NAME:skip:LAYERS    as in "draft:skip:4-7+9": all of a call leaves them
  ///                       out. Its states are some of the step's
  ///   NAME:choose:LAYERS  each call says which of its runs go through each
  ///                       block of such layers: inputs layer_rows_N and so on
  ///                       (abi.h), N the block's first layer. The others hand
  ///                       on what they have, and only their keys and values
  ///                       are computed
  const char *const *step_entries;
  size_t step_entry_count;
  /// More models in the same artifact, with one file of weights: "NAME:FILE".
  /// What would be the entries "main" and "step" are NAME and NAME_step.
  const char *const *with_models;
  size_t with_model_count;
  /// What the pages of a decoder's step keep keys and values in: "f32", "f16",
  /// "bf16", "int8" (a scale for each head of a token) or "int4" (scale and
  /// least number of each 32). NULL: what the model computes them in. Behind
  /// the last two, ",f16-sinks=N" and ",f16-recent=W" (from 64 on) keep the
  /// first N tokens of a sequence and the last W in f16: their pages are states
  /// of a group of their own, of which the cache gives back what lies between.
  const char *kv;
  FerriteDiagnostic diagnostic; /* NULL: diagnostics are lost */
  void *diagnostic_data;
  FerriteProgress progress; /* or NULL */
  void *progress_data;
  /// How to store weights, and round what they are multiplied with: items with
  /// commas between, `FORMAT` for all, `NAME=FORMAT` for those whose weight or
  /// node has whole words that match (`*` any text), and a method. FORMAT is
  /// w<2|3|4|8>[a<4|8>][g<16..256>|pc][nf][-asym][-static][-f16|-bf16|-f32] or
  /// `wide`; see passes/Quantization/README.md. NULL: as the model has them.
  const char *quantize;
  const char
      *quantize_method; /* rtn, gptq, awq, smoothquant, rotate; or NULL */
  /// Data for the methods that need some: arrays named as inputs of an entry,
  /// or as inputs with ".0", ".1", .. for several runs. `data` is the caller's.
  const FerriteTensor *calib;
  size_t calib_count;
  /// "kld:X" (needs data) or "rel:X": layers whose rounding costs most keep
  /// more bits, until the divergence of predictions, or each layer's relative
  /// error, is X at most. NULL: all have the format that was asked for.
  const char *accuracy_budget;
  /// What attention is to leave out: items with semicolons between, each a
  /// pattern with its numbers or `blocks:FILE` with lists for layers and heads;
  /// or `weights:..`, which weights become zero; or what steps need to read or
  /// keep less of their pages, `quest:..` and `weigh`. See
  /// passes/Sparsity/README.md. NULL: what the model's masks leave out.
  const char *sparsify;
  /// "X" or "attention:X", X from 0 to 1: fails unless attention leaves out
  /// that share of its scores, on average over layers and heads. "weights:X":
  /// unless that share of the weights of linears are zeros.
  const char *const *require_sparsity;
  size_t require_sparsity_count;
} FerriteCompileOptions;

/// The caller's struct: set `size`, zero the rest.
typedef struct FerriteCompileResult {
  size_t size;    /* sizeof(FerriteCompileResult) */
  int32_t status; /* FerriteCompileStatus, as returned */
  int32_t reserved;
  const char *summary; /* JSON as below; NULL when there is none. Owned by the
                          result */
} FerriteCompileResult;

/// Compiles `options->model`. `result` may be NULL; else it is overwritten (not
/// freed first) and must be destroyed, whatever is returned. The summary is
/// there when the call succeeds and when a gate failed:
///
///   { "model": "minilm", "source": "minilm.onnx", "output": "minilm.so",
///     "emit": "so", "levels": ["avx512", "avx2"],
///     // kernels that use what a level adds; all others are those below it
///     "own_kernels": {"avx512_bf16": ["linear_768x768"]},
///     // with CUDA: what ptxas says of each function
///     "gpus": [{"name": "sm_90a", "cubin_bytes": 251016, "compiler":
///       "nvrtc 13.0", "warnings": [], "functions": [{"name": "norm_64",
///       "registers": 28, "spill_bytes": 0, "stack_bytes": 0}, ...]}],
///     "artifact_bytes": 91234567,            // weights in a file not counted
///     "weights_bytes": 90261504, "weights_file": null,
///     "onnx_nodes": 364, "launches": 55,
///     "symbols": [{"name": "sequence", "min": 1, "max": 512}], // max null:
///     none "fusions": [{"kind": "attention", "fused": 6, "candidates": 6,
///                  "records": [{"node": "...", "fused": false,
///                               "reason": "..."}]}],
///     // Every attention, norm, softmax, activation and product: what it was
///     // matched as, made of which nodes, or into what it went and which
///     // constraint failed first. Without --report the latter alone.
///     "concepts": [{"concept": "attention", "nodes": "...", "matched": true},
///                  {"concept": "gelu", "nodes": "...", "matched": true,
///                   "into": "the epilogue of linear"},
///                  {"concept": "matmul", "nodes": "...", "matched": false,
///                   "into": "matmul", "reason": "..."}],
///     "notes": [{"pass": "...", "node": "...", "reason": "..."}], // copies,
///     ... "kernels": [{"name": "k3_linear", "kernel": "linear f32 8x64",
///                  "launches": 12}],
///     "arena": [{"shape": {"batch": 1, "sequence": 128},       // some shapes
///                "naive": 9437184, "planned": 1572864,
///                "lower_bound": 1572864}],
///     // What `machine` needs at least at some shapes, one thread, best level
///     // of the artifact: seconds, and in percent of the peak of products.
///     "machine": "zen5",
///     "entries": [{"name": "main", // stages: in the report alone
///                  "stages": [{"nodes": "/0/Add", "kernel": "k3_linear",
///                    "predicted": [{"shape": {"batch": 1, "sequence": 128},
///                                   "seconds": 0.0012,
///                                   "peak_percent": 97.1}]}]}],
///     // What --quantize did: relative errors of weights, weighted by the
///     // inputs' moments where calibration knows them.
///     "layers": [{"node": "/0/MatMul", "weight": "fc.weight",
///                 "format": "w4g32", "error": 0.08, "wide_bytes": 2359296,
///                 "stored_bytes": 331776,
///                 "kld": 0.001,          // with an accuracy budget: it alone
///                 "reason": "..."}],     // of another format than asked for
///     // The report alone: what each attention sees of so many tokens, by
///     // position; one number for each head where they differ.
///     "attention": [{"entry": "main", "layer": 0, "node": "...",
///                    "sees": "causal, blocks of 64", "tokens": 8192,
///                    "density": 0.24, "heads": [0.2, 0.28],
///                    "predicted_gain": 4.2,
///                    "patterns": ["a-shape 1+4", "blocks"], // of a search
///                    "mass": [0.96, 0.95]}],
///     // The report alone: weights of linears that have zeros, [K, N]; blocks
///     // are of columns by rows.
///     "weight_zeros": [{"node": "...", "weight": "fc.weight", "zeros": 0.5,
///                       "two_of_four": true, "zero_blocks": {"16x4": 0.0,
///                       "16x1": 0.01, "32x4": 0.0, "32x1": 0.0},
///                       "kernel": "dense", "reason": "..."}],
///     "phases": [{"name": "import", "seconds": 0.05}],
///     "seconds": 3.1 }
///
/// In `summary` the "records" are those that did not fuse; the report has all.
///
/// FerriteAbiModel::description has the same keys but "output",
/// "artifact_bytes", "phases" and "seconds" (equal models make equal
/// artifacts), all records, and
///
///   "entries": [{"name": "main",
///                // Products count as two operations; both are polynomials.
///                "launches": [{"nodes": ["/0/Add"], "kernel": "k3_linear",
///                              "operations": "batch*sequence*884736",
///                              "bytes": "batch*sequence*6144 + 1769472",
///                              "weight_bytes": 1769472,
///                              "arithmetic": "f32"}],
///                "buffers": [{"value": "/0/Add_output_0", "offset": "0",
///                             "bytes": "batch*sequence*1536",
///                             "first": 3, "last": 7}]}]      // launches
///
/// A reader treats an absent key as unknown.
FERRITE_API int32_t ferriteCompile(const FerriteCompileOptions *options,
                                   FerriteCompileResult *result);

/// Frees the summary. NULL, and a result that was never filled in: nothing.
FERRITE_API void ferriteCompileResultDestroy(FerriteCompileResult *result);

//===----------------------------------------------------------------------===//
// Check
//===----------------------------------------------------------------------===//

typedef struct FerriteCheckOptions {
  size_t size;       /* sizeof(FerriteCheckOptions) */
  const char *model; /* an .onnx file */
  const FerriteDimBounds *dims;
  size_t dim_count;
  const FerriteBinding *bindings;
  size_t binding_count;
  FerriteDiagnostic diagnostic;
  void *diagnostic_data;
} FerriteCheckOptions;

/// Looks for everything that would keep the model from compiling, and reports
/// all of it: each problem is one error diagnostic. Returns what ferriteCompile
/// would have: OK, USER_ERROR when the model is invalid, else UNSUPPORTED.
/// `result` as for ferriteCompile; its summary:
///
///   { "source": "m.onnx", "ir_version": 8, "onnx_nodes": 364,
///     "opsets": {"": 17}, "producer": "pytorch 2.9",
///     "ops": [{"op": "MatMul", "nodes": 48, "supported": true}],
///     "problems": [{"node": "/0/Foo", "op": "Foo", "status": 2,
///                   "message": "..."}] }
FERRITE_API int32_t ferriteCheck(const FerriteCheckOptions *options,
                                 FerriteCompileResult *result);

//===----------------------------------------------------------------------===//
// Verify
//===----------------------------------------------------------------------===//

typedef struct FerriteVerifyOptions {
  size_t size;              /* sizeof(FerriteVerifyOptions) */
  const char *model;        /* the .onnx file */
  const char *artifact;     /* what was compiled from it, a shared artifact */
  const char *entry;        /* NULL: the first */
  const char *level;        /* as FerriteModelOptions::level */
  const char *weights_path; /* as FerriteModelOptions::weights_path */
  /// All inputs by name. `data` and `bytes` are the caller's.
  const FerriteTensor *inputs;
  size_t input_count;
  const FerriteBinding *bindings; /* those of the compile */
  size_t binding_count;
  double max_error; /* > 0: a relative L2 error above this is a user error that
                       names the first such value in the order of the graph */
  int32_t threads;  /* 0: ferriteDefaultThreads() */
  int32_t taps;     /* not 0: the model is compiled again, beside the artifact,
                       with every value stored, and the first value that is wrong
                       then is named; max_error is 1e-4 unless it is given */
  FerriteDiagnostic diagnostic;
  void *diagnostic_data;
  FerriteProgress progress; /* "reference", "artifact", "compare" */
  void *progress_data;
  /// "kld" or "perplexity": predictions are compared instead of values, and
  /// `inputs` are data as FerriteCompileOptions::calib, with "labels" for next
  /// tokens that are not those of the first input. NULL: values are compared.
  const char *metric;
  double max_metric; /* > 0: a metric above this is a user error */
} FerriteVerifyOptions;

/// Evaluates the ONNX model with the reference evaluator, before any pass, and
/// compares the artifact's outputs with it. Every other value that the artifact
/// stores is compared, launch by launch, with the reference evaluator's value
/// of the same op after fusion; where its last ONNX node has a value of that
/// shape before any pass, too, `fusion_l2` is the error between those two. So
/// an error of a kernel and one of a pass are told apart. An artifact whose
/// launches are not those that this compiler makes gets a warning, and has its
/// outputs alone compared. `result` as for ferriteCompile; its summary, in the
/// order of the graph with outputs last:
///
///   { "source": "m.onnx", "artifact": "m.so", "level": "avx512",
///     "values": [{"name": "/0/Add_output_0", "node": "/0/Add", "output":
///     false,
///                 "shape": [1, 16, 384], "relative_l2": 2.1e-7,
///                 "max_abs": 3.0e-6, "fusion_l2": 5e-8}], // null: not finite
///     "worst": "last_hidden_state", "worst_relative_l2": 9e-7,
///     "passed": true }
///
/// With `metric` the values are none, and there is
///
///     "metric": {"name": "kld", "value": 0.012, "kld": 0.012,
///                "perplexity": 25.1, "float_perplexity": 24.8,
///                "positions": 12288}
FERRITE_API int32_t ferriteVerify(const FerriteVerifyOptions *options,
                                  FerriteCompileResult *result);

#ifdef __cplusplus
} // extern "C"
#endif
#endif // FERRITE_COMPILER_H
