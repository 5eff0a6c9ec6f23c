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

  explicit TensorValue(mlir::Location loc) : loc(loc) {}
  size_t rank() const { return dims.size(); }
};

/// Tensors up to this size are evaluated at import.
inline constexpr int64_t kMaxContents = 128;

using OpHandler = mlir::LogicalResult (*)(OpBinder &);

/// Handlers by op; ops of other domains as "domain::Op".
class OpTable {
public:
  OpTable();
  /// `required` inputs must be there. ONNX's checker sees to that for the
  /// standard's ops; for others we do.
  void add(llvm::StringRef op, OpHandler handler, unsigned required = 0) {
    entries[op] = {handler, required};
  }
  /// Null where there is none.
  OpHandler find(const onnx::NodeProto &node) const;
  unsigned getRequiredInputs(const onnx::NodeProto &node) const;
  static std::string getKey(const onnx::NodeProto &node);

private:
  struct Entry {
    OpHandler handler = nullptr;
    unsigned required = 0;
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
void registerQuantizedConvOps(OpTable &table);
void registerNormOps(OpTable &table);
void registerReduceOps(OpTable &table);
void registerDecomposedOps(OpTable &table);
void registerMicrosoftOps(OpTable &table);
void registerAttentionOps(OpTable &table);

class Importer {
public:
  Importer(mlir::MLIRContext *context, ModelFile &file,
           const ImportOptions &options, ImportSummary &summary);

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
  /// shape=..", or nothing when no few integer inputs decide it.
  std::string suggestBinding(llvm::StringRef name);
  /// A constant or weight; also fills contents or floats when it is small.
  mlir::FailureOr<TensorValue> importConstant(const onnx::TensorProto &tensor,
                                              llvm::StringRef name,
                                              mlir::Location loc);
  mlir::LogicalResult importNode(const onnx::NodeProto &node);
  /// Imports the nodes of a branch that is known to be taken, in place.
  mlir::LogicalResult importBranch(OpBinder &binder,
                                   const onnx::GraphProto &branch);

  /// Counts and emits an error about a node, or about the model.
  void report(const onnx::NodeProto *node, llvm::StringRef message,
              Fault fault = Fault::Model);

  int opset = 0;

private:
  mlir::LogicalResult prepareModel();
  mlir::LogicalResult expandUnknownOps();
  mlir::LogicalResult importInputs(mlir::func::FuncOp function);
  mlir::LogicalResult importInitializers();
  mlir::FailureOr<Dims> importDims(const onnx::ValueInfoProto &input);
  mlir::FailureOr<TensorValue> importInput(const onnx::ValueInfoProto &input);
  mlir::LogicalResult importOutputs(mlir::func::FuncOp function);
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
  void collectUses(const onnx::GraphProto &graph);
  /// The symbols that may be 0: of a cache that is empty at the first call.
  void collectEmptyDims(const onnx::GraphProto &graph);
  void reportUnknown(const onnx::NodeProto &node);
  void poisonOutputs(const onnx::NodeProto &node);
  mlir::LogicalResult applyHandler(const onnx::NodeProto &node);

  const ImportOptions &options;
  ImportSummary &summary;
  llvm::StringMap<TensorValue> values;
  llvm::StringMap<const onnx::NodeProto *> definers;
  llvm::StringSet<> usedNames;
  llvm::DenseSet<const onnx::NodeProto *> rejected;
  unsigned errors = 0;
};

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_IMPORTER_H
