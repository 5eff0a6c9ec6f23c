//===- Compile.h - From an ONNX file to an artifact -------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_COMPILE_H
#define FERRITE_LIB_DRIVER_COMPILE_H

#include "ferrite/compiler.h"
#include "lib/Driver/Concepts.h"
#include "lib/Driver/RemarkLog.h"
#include "lib/Frontend/ONNX/Import.h"
#include "lib/Pipelines/Pipelines.h"
#include "lib/Support/MachineProfile.h"
#include "passes/Sparsity/Spec.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <functional>

namespace ferrite {
class ModelFolder;

/// "X", "attention:X" or "weights:X": what must be left out at least, the share
/// of attention's scores or of weights that are zeros.
struct SparsityGate {
  std::string text;
  bool isOfWeights = false;
  double least = 0;
};

/// FerriteCompileOptions as C++ values, with defaults filled in.
struct DriverOptions {
  std::string model, output, name, weightsPath, reportPath, dumpFolder;
  std::string kv; ///< what caches hold (kKvAttr); empty: as computed
  int32_t emit = FERRITE_EMIT_SO;
  int32_t weightsMode = FERRITE_WEIGHTS_AUTO;
  std::vector<std::string> levels;
  int32_t target = FERRITE_TARGET_CPU;
  std::vector<std::string> gpus; ///< empty: the usual ones
  std::vector<std::string> requireFusion;
  std::vector<std::string> stepWith, stepEntries; ///< see MakeStepParts.h
  /// Names and files of further models.
  std::vector<std::pair<std::string, std::string>> withModels;
  ImportOptions import;
  std::optional<Phase> compileFrom; ///< `model` is a dump of this phase
  std::optional<Phase> compileTo;
  bool debug = false;
  MachineProfile machine = MachineProfile::ofHost();
  unsigned threads = 1;
  std::string quantize;       ///< a spec that parses, method included; or empty
  std::string accuracyBudget; ///< "kld:0.02", one that parses; or empty
  /// Of a compile within another one: where the file lies that the dump's
  /// sources name (kSideFileAttr); and whether products may be sparse.
  std::string sideFile;
  bool sparseProducts = true;
  std::vector<SparsityItem> sparsify;
  std::vector<SparsityGate> requireSparsity;
  /// Batches of inputs, borrowed.
  std::vector<FerriteTensor> calib;
  /// Told of a phase, and how much of how much of it is done (of 0: unknown).
  /// False stops the compile.
  std::function<bool(llvm::StringRef phase, uint64_t done, uint64_t total)>
      progress;

  bool hasCpu() const { return target != FERRITE_TARGET_CUDA; }
  bool hasCuda() const { return target != FERRITE_TARGET_CPU; }
};

/// A weight that was quantized.
struct LayerRecord {
  std::string node, weight, format;
  std::string why;  ///< the format is not the one that was asked for
  double error = 0; ///< relative
  double kld = -1;  ///< of the predictions with it alone; below 0: not measured
  int64_t wideBytes = 0, storedBytes = 0;
};

/// What an attention sees.
struct AttentionRecord {
  std::string entry, node;
  std::string sees; ///< "causal, window of 512"
  int64_t layer = 0;
  int64_t tokens = 0;          ///< that this is of
  std::vector<double> density; ///< of each head: scores kept by position
  /// What choosing blocks costs, of the products of a dense attention.
  double estimate = 0;
};

/// What a search chose for the heads of an attention.
struct SearchRecord {
  std::string entry;
  int64_t layer = 0;
  std::vector<std::string> patterns; ///< by head, that a search found
  std::vector<double> mass;          ///< of the data's probabilities kept
  /// Of blocks that are chosen at run time: thresholds, the scores kept of the
  /// data, the change of the result in root mean squares of it.
  std::vector<double> thresholds, density, error;
};

/// A weight that --sparsify=weights:.. pruned.
struct PruneRecord {
  std::string node, weight, method, blocks;
  double kept = 1;  ///< share of its numbers
  double error = 0; ///< relative
};

/// The zeros of a weight of a linear, as the model has it.
struct WeightRecord {
  std::string node, weight;
  int64_t numbers = 0;
  double zeros = 0; ///< their share; 0 too where some columns have hardly any
  bool isTwoOfFour = false;
  /// "16x4": the share of such blocks that are zero.
  std::vector<std::pair<std::string, double>> zeroBlocks;
  /// How its products skip them: "32x4", or "dense"; and why.
  std::string kernel = "dense", reason;
  /// Predicted seconds of a product of 128 rows: "dense", "32x4", "2:4".
  std::vector<std::pair<std::string, double>> seconds;
  bool isTuned = false; ///< by what `ferrite tune` measured
};

/// What happened, for the summary and the report.
struct CompileRecord {
  ImportSummary import;
  RemarkLog remarks;
  std::vector<ConceptRecord> concepts;
  std::vector<std::pair<Phase, double>> seconds; ///< per phase
  double totalSeconds = 0;
  std::vector<std::string> levels; ///< best first
  /// Of each GPU architecture, best first.
  struct Gpu {
    std::string name, tool, log;
    int64_t cubinBytes = 0;
  };
  std::vector<Gpu> gpus;
  /// Of a level that differs from another by some instructions: the kernels
  /// that use them. All else is the other's code.
  std::vector<std::pair<std::string, std::vector<std::string>>> ownKernels;
  std::vector<LayerRecord> layers;
  std::vector<AttentionRecord> attentions;
  std::vector<SearchRecord> searches;
  std::vector<PruneRecord> pruned;
  std::vector<WeightRecord> weights;
  /// Where the codes and scales of the module lie; empty: none are.
  std::string sideFile;
  int64_t weightsBytes = 0;
  std::string weightsFile;
  int64_t artifactBytes = 0;
  bool userFault = false; ///< an option or the disk made it fail
  bool gate = false; ///< the same, and the report has what is known until there
};

/// Of the module, what kModelPathAttr is for its first model: a path for each
/// further one, by name.
inline constexpr llvm::StringLiteral kModelPathsAttr = "ferrite.model_paths";

/// Imports further models and gives their functions to `module`, under names of
/// their own.
mlir::LogicalResult addModels(const DriverOptions &options,
                              mlir::ModuleOp module, ImportSummary &summary,
                              mlir::Location loc);

/// Adds the folders of the module's further models.
void addModelFolders(ModelFolder &folder, mlir::ModuleOp module);
/// The folder of the model, with those of the module's further models and the
/// file of its codes, scales and pruned weights, which lies at `sideFile`.
ModelFolder openModelFolder(mlir::ModuleOp module, const DriverOptions &options,
                            llvm::StringRef sideFile);

std::vector<InputBinding> readBindings(const FerriteBinding *bindings,
                                       size_t count);

/// Dialects and translations of every phase.
void registerAll(mlir::DialectRegistry &registry);

/// Compiles; errors are diagnostics in `context`. The module is left as the
/// last phase of passes made it, for the summary.
mlir::LogicalResult compile(mlir::MLIRContext &context,
                            const DriverOptions &options, CompileRecord &record,
                            mlir::OwningOpRef<mlir::ModuleOp> &module);

/// Whether a "KIND:all" / "KIND:none" / "KIND:N" gate holds; errors if not.
mlir::LogicalResult checkGates(const DriverOptions &options,
                               const RemarkLog &remarks, mlir::Location loc);

/// Reads the options of sparsity; what is wrong with them, or nothing.
std::string readSparsity(const FerriteCompileOptions &from, DriverOptions &to);
/// Why those do not go with the phase that is resumed from, or nothing.
std::string whyPastSparsity(const DriverOptions &options);

/// What each attention sees, after the phase `sparsify`.
mlir::LogicalResult recordAttentions(mlir::ModuleOp module,
                                     CompileRecord &record);
/// Gives attention the lists of `search` items, from options.calib.
mlir::LogicalResult searchPatterns(mlir::ModuleOp module,
                                   const DriverOptions &options,
                                   CompileRecord &record, mlir::Location loc);
/// The zeros of the weights of linears, after the phase `fuse`.
mlir::LogicalResult recordZeros(mlir::ModuleOp module,
                                const DriverOptions &options,
                                CompileRecord &record);
/// Whether the gates of weights hold; an error if not.
mlir::LogicalResult checkZeros(const DriverOptions &options,
                               const CompileRecord &record, mlir::Location loc);
/// Whether the gates of attention hold; an error if not.
mlir::LogicalResult checkSparsity(const DriverOptions &options,
                                  const CompileRecord &record,
                                  mlir::Location loc);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_COMPILE_H
