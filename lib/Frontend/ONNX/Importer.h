//===- Importer.h - The state of one import ---------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Walks the nodes in order and keeps, for each ONNX value, what is known of it:
// always its dims and element type; its contents, when it is a small integer
// tensor; and an mlir::Value, from its first use as data on. So shape
// arithmetic leaves no ops behind, and neither does an initializer that nothing
// reads.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_IMPORTER_H
#define FERRITE_LIB_FRONTEND_ONNX_IMPORTER_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include "lib/Frontend/ONNX/Import.h"
#include "lib/Frontend/ONNX/ModelFile.h"
#include "lib/Frontend/ONNX/ShapeValue.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringSet.h"

namespace ferrite::frontend {

class OpBinder;

/// Whose fault an error is: the exit code tells them apart.
enum class Fault { Model, Limitation };

/// One ONNX value.
struct TensorValue {
  mlir::Type element;
  Dims dims;
  /// Elements of a small integer or boolean tensor, row-major.
  std::optional<std::vector<DimExpr>> contents;
  /// Elements of a small float constant.
  std::optional<std::vector<double>> floats;
  /// Null until the value is used as data.
  mlir::Value data;
  /// The initializer or attribute it is, if it is one.
  const onnx::TensorProto *constant = nullptr;
  mlir::Location loc;
  /// Computed by a node that was reported: users are silent.
  bool poisoned = false;
  /// A sequence: its elements, and nothing of the above.
  std::shared_ptr<const std::vector<TensorValue>> sequence;
  /// An optional value that is none, and nothing of the above.
  bool isNone = false;

  explicit TensorValue(mlir::Location loc) : loc(loc) {}
  size_t rank() const { return dims.size(); }
  bool isTensor() const { return !sequence && !isNone; }
};

/// Tensors up to this size are evaluated at import.
inline constexpr int64_t kMaxContents = 128;

/// A terabyte of f32, and far from overflowing a size in bytes.
inline constexpr int64_t kMostElements = int64_t(1) << 38;
/// ONNX names no limit; the deepest tensor that we know of has 8 dims.
inline constexpr int kMostRank = 32;

using OpHandler = mlir::LogicalResult (*)(OpBinder &);

/// Handlers by op; ops of other domains as "domain::Op".
class OpTable {
public:
  OpTable();
  /// `required` inputs must be there, and `most` may be. ONNX's checker sees to
  /// that for the standard's ops; for others we do.
  void add(llvm::StringRef op, OpHandler handler, unsigned required = 0,
           unsigned most = ~0u) {
    entries[op] = {handler, required, most};
  }
  /// The same, of an op that takes sequences and optional values.
  void addForSequences(llvm::StringRef op, OpHandler handler) {
    add(op, handler);
    entries[op].takesSequences = true;
  }
  bool takesSequences(const onnx::NodeProto &node) const;
  /// Null where there is none.
  OpHandler find(const onnx::NodeProto &node) const;
  unsigned getRequiredInputs(const onnx::NodeProto &node) const;
  unsigned getMostInputs(const onnx::NodeProto &node) const;
  static std::string getKey(const onnx::NodeProto &node);

private:
  struct Entry {
    OpHandler handler = nullptr;
    unsigned required = 0;
    unsigned most = ~0u;
    bool takesSequences = false;
  };
  llvm::StringMap<Entry> entries;
};

// One file an op family.
void registerElementwiseOps(OpTable &table);
void registerComparisonOps(OpTable &table);
void registerConstantOps(OpTable &table);
void registerViewOps(OpTable &table);
void registerIndexOps(OpTable &table);
void registerContractionOps(OpTable &table);
void registerConvOps(OpTable &table);
void registerPoolOps(OpTable &table);
void registerPadOps(OpTable &table);
void registerResizeOps(OpTable &table);
void registerGroupNormOps(OpTable &table);
void registerQuantizeOps(OpTable &table);
void registerQuantizedConvOps(OpTable &table);
void registerQuantizedProductOps(OpTable &table);
void registerQuantizedElementwiseOps(OpTable &table);
void registerBlockQuantOps(OpTable &table);
void registerNormOps(OpTable &table);
void registerReduceOps(OpTable &table);
void registerDecomposedOps(OpTable &table);
void registerActivationOps(OpTable &table);
void registerEinsumOps(OpTable &table);
void registerMatrixOps(OpTable &table);
void registerUnpoolOps(OpTable &table);
void registerSignalOps(OpTable &table);
void registerRnnOps(OpTable &table);
void registerGridSampleOps(OpTable &table);
void registerMicrosoftOps(OpTable &table);
void registerAttentionOps(OpTable &table);
void registerControlFlowOps(OpTable &table);
void registerSequenceOps(OpTable &table);
void registerLinearAttentionOps(OpTable &table);
void registerRecurrentOps(OpTable &table);

class Importer {
public:
  Importer(mlir::MLIRContext *context, ModelFile &file,
           const ImportOptions &options, ImportSummary &summary);

  /// What earlier imports of the model found out about its symbols, before
  /// run(). A tentative import only looks for more.
  void setEqualities(std::vector<SymbolBounds::Equality> known, bool tentative);
  /// What this import found: it stopped there, to be done again with it.
  const std::optional<SymbolBounds::Equality> &getFound() const {
    return found;
  }
  /// Whether a tentative import may find an equality that this one did not.
  bool isOpen() const { return symbols.wasOpen && !symbols.isTentative; }
  /// Emits what was reported.
  void emitReports();

  mlir::FailureOr<mlir::OwningOpRef<mlir::ModuleOp>> run();

  // For the binder and the handlers.
  mlir::OpBuilder builder;
  SymbolBounds symbols;
  llvm::StringSet<> emptyDims; ///< see collectEmptyDims
  ModelFile &file;
  const OpTable table;

  mlir::Location getLoc(const onnx::NodeProto &node);
  /// The type of an ONNX element type, null where Ferrite has none.
  mlir::Type getElementType(int32_t type);
  /// Null when nothing defines it.
  TensorValue *find(llvm::StringRef name);
  void define(llvm::StringRef name, TensorValue value);
  /// The value as data; makes it at the first call.
  mlir::FailureOr<mlir::Value> materialize(TensorValue &value);
  /// Options that make `name`, which data decides, a constant: "--bind
  /// shape=..", "--dim NAME=N" where dims decide it in a way that Ferrite does
  /// not follow, or nothing when no few integer inputs decide it.
  std::string suggestBinding(llvm::StringRef name);
  /// A constant or weight; also fills contents or floats when it is small.
  mlir::FailureOr<TensorValue> importConstant(const onnx::TensorProto &tensor,
                                              llvm::StringRef name,
                                              mlir::Location loc);
  mlir::LogicalResult importNode(const onnx::NodeProto &node);
  /// Imports the nodes of a body in place, its inputs being `arguments`, and
  /// gives its results.
  mlir::FailureOr<std::vector<TensorValue>>
  importBody(OpBinder &binder, const onnx::GraphProto &body,
             llvm::ArrayRef<TensorValue> arguments);

  /// Whether a = b gives a symbol a value. Then this import is over: the
  /// caller fails without a report.
  bool unify(const onnx::NodeProto &node, const DimExpr &a, const DimExpr &b);

  /// Counts and keeps an error about a node, or about the model.
  void report(const onnx::NodeProto *node, llvm::StringRef message,
              Fault fault = Fault::Model);

  int opset = 0;
  /// Nodes of bodies, as often as they were repeated.
  int64_t unrolledNodes = 0;
  int sourceOpset = 0; ///< before old models are converted

private:
  mlir::LogicalResult prepareModel();
  mlir::LogicalResult importInputs(mlir::func::FuncOp function);
  mlir::LogicalResult importInitializers();
  mlir::FailureOr<Dims> importDims(const onnx::ValueInfoProto &input);
  mlir::FailureOr<TensorValue> importInput(const onnx::ValueInfoProto &input);
  void addTaps(llvm::SmallVectorImpl<mlir::Value> &results,
               llvm::SmallVectorImpl<mlir::Attribute> &attrs);
  mlir::LogicalResult importOutputs(mlir::func::FuncOp function);
  /// The last position of [batch, sequence, vocabulary].
  mlir::FailureOr<mlir::Value> takeLast(const TensorValue &value,
                                        mlir::Value data);
  mlir::LogicalResult checkDeclaredDims(const onnx::ValueInfoProto &output,
                                        const TensorValue &value);
  void eraseDeadOps(mlir::Block &block);

  mlir::FailureOr<mlir::Value> materializeConstant(TensorValue &value);
  mlir::Value materializeContents(TensorValue &value);
  mlir::Value createWeight(const TensorValue &value,
                           const TensorSource &source);

  /// Whether the import goes on after an error.
  mlir::LogicalResult goOn(bool clean) const {
    return mlir::success(clean || options.collectAll);
  }
  void
  collectUses(const google::protobuf::RepeatedPtrField<onnx::NodeProto> &nodes);
  /// The symbols that may be 0: of a cache that is empty at the first call.
  void collectEmptyDims(const onnx::GraphProto &graph);
  void reportUnknown(const onnx::NodeProto &node);
  void poisonOutputs(const onnx::NodeProto &node);
  mlir::LogicalResult applyHandler(const onnx::NodeProto &node);
  /// That the ops behind `before`, which a handler made, are valid.
  mlir::LogicalResult verifyFrom(OpBinder &binder, mlir::Operation *before);
  /// The type of ONNX for elements of this type.
  int32_t getStandardType(mlir::Type element);
  /// Imports the body that the standard gives the op of `node`, in its place.
  mlir::LogicalResult importFunction(const onnx::NodeProto &node);
  onnx::TypeProto getType(llvm::StringRef name);

  const ImportOptions &options;
  ImportSummary &summary;
  llvm::StringMap<TensorValue> values;
  llvm::StringMap<const onnx::NodeProto *> definers;
  llvm::StringSet<> usedNames;
  llvm::DenseSet<const onnx::NodeProto *> rejected;
  std::optional<SymbolBounds::Equality> found;
  std::vector<std::pair<mlir::Location, std::string>> reports;
  /// Bodies of functions that were imported: values point into them.
  std::vector<std::unique_ptr<onnx::FunctionProto>> bodies;
  unsigned functionDepth = 0;
  uint64_t importedNodes = 0; ///< each as often as a loop repeats it
  unsigned errors = 0;
};

/// Reads the model at `path` into a module with one entry, @main.
mlir::FailureOr<mlir::OwningOpRef<mlir::ModuleOp>>
importEntry(mlir::MLIRContext *context, const std::string &path,
            const ImportOptions &options, ImportSummary &found);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_IMPORTER_H
