//===- abi.h - What generated code and the runtime share --------*- C -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The compiler writes one `FerriteAbiModel` into each artifact; the runtime
// reads it. Nothing else is shared between the two, so this file is the whole
// contract. Every struct here is laid out by the compiler by hand
// (lib/Artifact/HostProgram.cpp): a change of any field is a new
// FERRITE_ABI_VERSION, which the runtime checks before it reads further.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_ABI_H
#define FERRITE_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// "FERRITE1" in little-endian order: the first eight bytes of a model.
#define FERRITE_ABI_MAGIC UINT64_C(0x3145544952524546)
#define FERRITE_ABI_VERSION 6
/// The rank of a tensor never exceeds this.
#define FERRITE_MAX_RANK 8
/// The exported symbol of a shared artifact.
#define FERRITE_MODEL_SYMBOL "ferrite_model"

/// Element types. The values are part of the ABI. `bool` is one byte, 0 or 1.
/// An element of 2 or 4 bits has a byte of its own, as in ml_dtypes: integers
/// extend their sign or zeros into it and are read from its low bits alone.
typedef enum FerriteDType {
  FERRITE_F32 = 0,
  FERRITE_F16 = 1,
  FERRITE_BF16 = 2,
  FERRITE_F64 = 3,
  FERRITE_I8 = 4,
  FERRITE_I16 = 5,
  FERRITE_I32 = 6,
  FERRITE_I64 = 7,
  FERRITE_U8 = 8,
  FERRITE_U16 = 9,
  FERRITE_U32 = 10,
  FERRITE_U64 = 11,
  FERRITE_BOOL = 12,
  FERRITE_F8E4M3FN = 13,
  FERRITE_F8E4M3FNUZ = 14,
  FERRITE_F8E5M2 = 15,
  FERRITE_F8E5M2FNUZ = 16,
  FERRITE_F8E8M0FNU = 17,
  FERRITE_F4E2M1FN = 18,
  FERRITE_I4 = 19,
  FERRITE_U4 = 20,
  FERRITE_I2 = 21,
  FERRITE_U2 = 22
} FerriteDType;

/// CPU features that a level needs (bits of FerriteAbiLevel::features). A level
/// is usable when every bit it needs was found by CPUID and is enabled by the
/// OS.
#define FERRITE_CPU_AVX2 (UINT64_C(1) << 0)   /* with FMA, F16C, BMI2 */
#define FERRITE_CPU_AVX512 (UINT64_C(1) << 1) /* F, BW, DQ, VL, CD */
#define FERRITE_CPU_AVX512_VNNI (UINT64_C(1) << 2)
#define FERRITE_CPU_AVX512_BF16 (UINT64_C(1) << 3)
#define FERRITE_CPU_AVX512_FP16 (UINT64_C(1) << 4)
#define FERRITE_CPU_AMX_INT8 (UINT64_C(1) << 5)
#define FERRITE_CPU_AMX_BF16 (UINT64_C(1) << 6)
#define FERRITE_CPU_AVX_VNNI (UINT64_C(1) << 7)
/* bf16 dots do more a cycle than f32 FMAs: Zen 4 and later, not Intel's */
#define FERRITE_CPU_FAST_BF16_DOT (UINT64_C(1) << 8)
#define FERRITE_CPU_NEON (UINT64_C(1) << 32) /* AArch64: Advanced SIMD, FP */
#define FERRITE_CPU_NEON_DOT (UINT64_C(1) << 33)  /* sdot, udot */
#define FERRITE_CPU_NEON_I8MM (UINT64_C(1) << 34) /* usmmla, usdot */

/// One argument of a kernel: a pointer or an integer (a size or a stride, in
/// elements).
typedef union FerriteArg {
  void *ptr;
  int64_t i64;
} FerriteArg;

/// Runs work units [begin, end) of one launch. `scratch` is private to the
/// calling worker: FerriteAbiEntry::scratch_bytes bytes, 64-byte aligned. Units
/// are independent: any split over any number of workers computes the same
/// bits.
/// The two int64 before `scratch` tell of an index that was outside of what it
/// indexes: scratch[-2] the index, scratch[-1] something other than 0. The
/// kernel went on with one inside; the run fails when the launch is done.
typedef void (*FerriteKernelFn)(const FerriteArg *args, int64_t begin,
                                int64_t end, void *scratch);

/// The number of work units of a launch, 0 or more, from its arguments.
typedef int64_t (*FerriteUnitsFn)(const FerriteArg *args);

/// One dimension. `symbol` >= 0: for an input, the entry symbol that the
/// dimension binds or must agree with; for an output, an index into `values`.
/// `symbol` < 0: the constant `size`.
/// `check` > 0, for an input with a symbol: the symbol stands for an expression
/// of other symbols and must equal values[check - 1]; its name says which. Else
/// `check` is 0.
typedef struct FerriteAbiDim {
  int64_t size;
  int32_t symbol;
  int32_t check;
} FerriteAbiDim;

/// An input or output. When `id_limit` > 0 every element must lie in
/// [-id_limit, id_limit): it indexes a table of that many rows.
typedef struct FerriteAbiTensor {
  const char *name;
  int32_t dtype; /* FerriteDType */
  int32_t rank;
  const FerriteAbiDim *dims;
  int64_t id_limit;
} FerriteAbiTensor;

/// A symbolic dimension of an entry, with the sizes the code is right for.
typedef struct FerriteAbiSymbol {
  const char *name;
  int64_t min;
  int64_t max; /* INT64_MAX: no limit */
} FerriteAbiSymbol;

typedef enum FerriteArgKind {
  FERRITE_ARG_INPUT = 0,  /* inputs[index] + offset */
  FERRITE_ARG_OUTPUT = 1, /* outputs[index] + offset */
  FERRITE_ARG_ARENA = 2,  /* arena + values[index] + offset */
  FERRITE_ARG_WEIGHT = 3, /* weights + offset */
  FERRITE_ARG_VALUE = 4,  /* the integer values[index] */
  FERRITE_ARG_CONST = 5,  /* the integer offset */
  /* Parts that begin where only the sizes of a call say: */
  FERRITE_ARG_INPUT_AT = 6,  /* inputs[index] + values[offset] */
  FERRITE_ARG_OUTPUT_AT = 7, /* outputs[index] + values[offset] */
  FERRITE_ARG_WEIGHT_AT = 8, /* weights + values[index] + offset */
  FERRITE_ARG_STATE = 9      /* states[index] + offset */
} FerriteArgKind;

/// How to make one FerriteArg of a launch. Offsets, and the values that
/// pointers are moved by, are in bytes.
typedef struct FerriteAbiArg {
  uint32_t kind; /* FerriteArgKind */
  uint32_t index;
  int64_t offset;
} FerriteAbiArg;

/// Work is uneven or the units are few: workers claim units one by one instead
/// of taking equal shares.
#define FERRITE_LAUNCH_CLAIMED 1u

/// One row of the stage table. The launches of an entry run in order; all units
/// of one are done before the next begins.
typedef struct FerriteAbiLaunch {
  uint32_t kernel; /* index into FerriteAbiModel::kernels */
  uint32_t argument_begin;
  uint32_t argument_count;
  uint32_t flags;
  const char *name; /* the ONNX nodes it computes, for profiles and errors */
} FerriteAbiLaunch;

typedef enum FerriteStateKind {
  FERRITE_STATE_KEYS = 0,   /* a page is [heads][width][page_tokens] */
  FERRITE_STATE_VALUES = 1, /* a page is [heads][page_tokens][width] */
  /// Of the layer's keys, f32, as long as the values' form says. A head's page
  /// begins with, for each 16 of its tokens, the means of their numbers and
  /// then half of their ranges; of pages that are full. Nobody imports it.
  FERRITE_STATE_SUMMARY = 2
} FerriteStateKind;

typedef enum FerriteStateGroup {
  FERRITE_STATE_OWN = 0,   /* of the sequence: `page_tables` */
  FERRITE_STATE_SOURCE = 1 /* of what it reads, an encoder's: `source_tables` */
  /* N from 2 on: of the sequence, of layers with a narrower window than those
     of group 0; `slots_N` and `page_tables_N` */
} FerriteStateGroup;

/// Memory that lives between calls, in pages of `page_tokens` tokens: what one
/// layer keeps of the tokens it has seen. Page p lies at p * page_bytes; the
/// whole is contiguous and 64-byte aligned.
typedef struct FerriteAbiState {
  const char *name; /* of the model's input: "past_key_values.0.key" */
  int32_t dtype;    /* FerriteDType of the elements */
  int32_t kind;     /* FerriteStateKind */
  int32_t layer;    /* from 0 */
  int32_t group;    /* FerriteStateGroup; those of one lie side by side */
  int64_t heads;
  int64_t width;       /* elements that a head keeps of a token */
  int64_t page_tokens; /* FERRITE_PAGE_TOKENS */
  int64_t page_bytes;
  int64_t window; /* tokens further back are never read; -1: all are */
  int64_t sinks;  /* but the first so many of a sequence always are */
} FerriteAbiState;

/// The tokens of a page.
#define FERRITE_PAGE_TOKENS 64

/// Where a layer has a FERRITE_STATE_SUMMARY, tokens of runs of at most so many
/// select what they read; those of longer runs read all.
#define FERRITE_SELECTING_TOKENS 16

typedef enum FerriteEntryRole {
  FERRITE_ENTRY_TENSORS = 0, /* inputs and outputs as the model names them */
  /// Tokens of several sequences at once, in runs; the sequences live in the
  /// entry's states. Inputs of these names, whatever comes besides:
  ///   slots       i64 [tokens]       where a token is kept: its page *
  ///                                  page_tokens + its place there
  ///   run_begins  i32 [runs + 1]     first token of each run, then `tokens`
  ///   contexts    i32 [runs]         tokens in the pages before the run
  ///   visible     i64 [tokens]       0: sees all tokens of its run up to
  ///                                  itself. Else bit j: sees token j of it,
  ///                                  and windows and distances count those
  ///                                  alone: a way through a tree
  ///   page_tables i32 [runs, table]  pages of a run's sequence, in order; -1
  ///                                  where no state reads that far back
  ///   logit_rows  i64 [logits]       tokens whose logits are wanted
  /// And with states of a group N from 2 on, of narrower windows:
  ///   slots_N, page_tables_N         the same for their pages
  /// And where it was asked for (compiler.h, step_with):
  ///   embeddings  [tokens, size]     count in place of the rows of token_ids
  ///   embedded    bool [tokens]      where this is true
  /// with outputs hidden:.. [logits, size] and lse:.. [logits, heads].
  /// And for a block of layers from N on that runs may leave out (compiler.h,
  /// step_entries), of those that do not:
  ///   layer_runs_N   i64 [some]      runs, ascending
  ///   layer_begins_N i32 [some + 1]  first row of each below, then all
  ///   layer_rows_N   i64 [rows]      their tokens, all of each run, in order
  /// And with states of FERRITE_STATE_SOURCE:
  ///   source_lengths i32 [runs]        tokens of a run's source
  ///   source_tables  i32 [runs, table] their pages
  /// And where it tells what keys get of attention, as integers of 2^-32 (the
  /// attention of all heads that share them, compiler.h, sparsify=weigh):
  ///   weigh_runs     i64 [weighed]     runs whose tokens count
  ///   weigh_tokens   i32 [weighed]     how many of the last ones of each
  /// with the outputs key_weights.LAYER i64 [weighed, key heads, 64 * table].
  FERRITE_ENTRY_STEP = 1,
  /// Computes the keys and values of a source: an output [1, heads, tokens,
  /// width] for each state of FERRITE_STATE_SOURCE of the step, in their order.
  FERRITE_ENTRY_ENCODE = 2
} FerriteEntryRole;

typedef struct FerriteAbiEntry {
  const char *name;
  const FerriteAbiSymbol *symbols;
  const FerriteAbiTensor *inputs;
  const FerriteAbiTensor *outputs;
  const FerriteAbiLaunch *launches;
  const FerriteAbiArg *arguments; /* of all launches */
  const FerriteAbiState *states;
  /// Computes `values` (buffer offsets, sizes, strides) from the symbols.
  void (*setup)(const int64_t *symbols, int64_t *values);
  uint32_t symbol_count;
  uint32_t input_count;
  uint32_t output_count;
  uint32_t launch_count;
  uint32_t argument_count;
  uint32_t value_count;
  uint32_t
      arena_value; /* values[arena_value]: bytes of the arena, 64-aligned */
  uint32_t state_count;
  uint32_t role; /* FerriteEntryRole */
  uint32_t reserved;
  int64_t scratch_bytes; /* per worker, the most that any kernel needs */
} FerriteAbiEntry;

typedef struct FerriteAbiKernel {
  const char *name;
  FerriteUnitsFn units;
} FerriteAbiKernel;

/// Code for one set of CPU features: as many functions as the model has
/// kernels.
typedef struct FerriteAbiLevel {
  const char *name; /* "avx2", "avx512", ...: what FERRITE_CPU names */
  uint64_t features;
  const FerriteKernelFn *functions;
} FerriteAbiLevel;

/*===--- CUDA ---------------------------------------------------------------===
 * A launch on a GPU has the arguments that it has on the CPU. They are the
 * first part of the kernel's one parameter; behind them lie
 *
 *   int64_t *fault     [0]: 0, or the number of a launch that met an index
 *                      outside of what it indexes; [1]: that index
 *   int64_t  launch    the number of this launch, plus 1
 *   int64_t  units     what the grid's steps give
 *   and from the next multiple of 64 on, 128 bytes for each tensor map.
 *===----------------------------------------------------------------------===*/

typedef enum FerriteGridKind {
  FERRITE_GRID_SIZE = 0,   /* multiplies by the argument `value` */
  FERRITE_GRID_FACTOR = 1, /* multiplies by `value` */
  FERRITE_GRID_CEIL = 2    /* divides by `value`, rounding up, what was
                              multiplied since the last of these */
} FerriteGridKind;

/// A step of how units are counted. They begin as 1.
typedef struct FerriteAbiGridStep {
  int64_t kind; /* FerriteGridKind */
  int64_t value;
} FerriteAbiGridStep;

/// A row-major matrix that is copied in boxes, in the 128-byte swizzle.
typedef struct FerriteAbiTensorMap {
  uint32_t argument;      /* of its pointer */
  uint32_t element_bytes; /* 1, 2 or 4 */
  int64_t row_argument;   /* of the number of rows; -1: it is `rows` */
  int64_t rows;
  int64_t columns;
  int64_t row_bytes; /* from one row to the next, a multiple of 16 */
  uint32_t box_rows;
  uint32_t box_columns;
} FerriteAbiTensorMap;

/// A function of a kernel. The first is launched whose guard holds: the
/// argument `guard` is at most `most`, or `guard` is -1.
typedef struct FerriteAbiCudaVariant {
  const char *name;
  const FerriteAbiGridStep *grid;
  const FerriteAbiTensorMap *maps;
  int64_t guard;
  int64_t most;
  uint32_t grid_count;
  uint32_t map_count;
  uint32_t threads;
  uint32_t shared_bytes;
  uint32_t blocks_per_sm; /* at most so many blocks; 0: one for each unit */
  uint32_t reserved;
} FerriteAbiCudaVariant;

typedef struct FerriteAbiCudaKernel {
  const FerriteAbiCudaVariant *variants;
  uint64_t variant_count;
} FerriteAbiCudaKernel;

/// The GPUs that code is for, beside those of its own capability.
typedef enum FerriteCudaReach {
  FERRITE_CUDA_MAJOR = 0, /* later ones with the same `major` */
  FERRITE_CUDA_EXACT = 1, /* none */
  FERRITE_CUDA_PTX = 2    /* all later ones: the driver compiles it */
} FerriteCudaReach;

/// Code for one architecture: as many kernels as the model has.
typedef struct FerriteAbiCudaCode {
  const char *name; /* "sm_90a" */
  uint32_t major;   /* compute capability */
  uint32_t minor;
  uint32_t exact; /* FerriteCudaReach */
  uint32_t reserved;
  const void *image; /* a cubin, or PTX, which ends with a zero */
  uint64_t image_bytes;
  const FerriteAbiCudaKernel *kernels;
} FerriteAbiCudaCode;

typedef struct FerriteAbiModel {
  uint64_t magic;
  uint32_t version;     /* FERRITE_ABI_VERSION */
  uint32_t size;        /* sizeof(FerriteAbiModel) */
  const char *compiler; /* version and build of the compiler, for messages */
  const char *name;
  const FerriteAbiEntry *entries;
  const FerriteAbiKernel *kernels;
  const FerriteAbiLevel
      *levels;         /* best first; the runtime takes the first usable */
  const void *weights; /* null when they lie in `weights_file` */
  uint64_t weights_bytes;
  const char *weights_file;    /* beside the artifact, or null */
  const uint8_t *weights_hash; /* 16 bytes (XXH3-128) of that file, or null */
  const char *description;     /* JSON for `ferrite inspect`: plan, report */
  uint64_t description_bytes;
  uint32_t entry_count;
  uint32_t kernel_count;
  uint32_t level_count; /* 0: code for GPUs alone */
  uint32_t cuda_count;
  const FerriteAbiCudaCode *cuda; /* best first, or null */
} FerriteAbiModel;

#ifdef __cplusplus
} // extern "C"
#endif
#endif // FERRITE_ABI_H
