//===- OpBinder.h - Operands and attributes of one ONNX node ----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What a handler sees of its node. Each accessor that cannot give what was
// asked reports why, with the node's name, and fails. An attribute that no
// handler asked for is an error: nothing is ever ignored.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_OPBINDER_H
#define FERRITE_LIB_FRONTEND_ONNX_OPBINDER_H

#include "lib/Frontend/ONNX/Importer.h"
#include "llvm/ADT/StringSet.h"

namespace ferrite::frontend {

/// "[batch, 12, 64]", for messages.
std::string printDims(llvm::ArrayRef<DimExpr> dims);

class OpBinder {
public:
  OpBinder(Importer &importer, const onnx::NodeProto &node)
      : importer(importer), node(node), loc(importer.getLoc(node)) {}

  Importer &importer;
  const onnx::NodeProto &node;
  const mlir::Location loc;

  int opset() const { return importer.opset; }
  mlir::OpBuilder &builder() { return importer.builder; }
  SymbolBounds &symbols() { return importer.symbols; }

  /// Reports that the model is wrong at this node.
  mlir::LogicalResult error(const llvm::Twine &message);
  /// Reports that sizes which must be equal are not, unless one symbol more
  /// makes them so: then the import begins anew, and knows it.
  mlir::LogicalResult errorUnlessEqual(const DimExpr &a, const DimExpr &b,
                                       const llvm::Twine &message);
  /// Reports that Ferrite cannot do what the node asks.
  mlir::LogicalResult unsupported(const llvm::Twine &message);

  //===--- inputs ---------------------------------------------------------===//

  unsigned numInputs() const { return node.input_size(); }
  bool hasInput(unsigned i) const {
    return i < numInputs() && !node.input(i).empty();
  }
  /// Input `i`, which is there: the checker has seen to that.
  TensorValue &input(unsigned i) { return *importer.find(node.input(i)); }
  /// Input `i` as data.
  mlir::FailureOr<mlir::Value> data(unsigned i) {
    return importer.materialize(input(i));
  }
  /// The elements of an integer input; `what` names it in the error.
  mlir::FailureOr<std::vector<DimExpr>> contents(unsigned i,
                                                 llvm::StringRef what);
  /// The same, when there is one.
  mlir::FailureOr<DimExpr> number(unsigned i, llvm::StringRef what);
  /// The same, when they are plain numbers.
  mlir::FailureOr<std::vector<int64_t>> integers(unsigned i,
                                                 llvm::StringRef what);
  /// Reports that input `i` must be known at compile time, and how to tell it.
  mlir::LogicalResult needsConstant(unsigned i, llvm::StringRef what);
  /// `axis` made non-negative, or an error.
  mlir::FailureOr<int64_t> normalizeAxis(int64_t axis, size_t rank);
  mlir::FailureOr<std::vector<int64_t>> normalizeAxes(std::vector<int64_t> axes,
                                                      size_t rank);

  //===--- attributes -----------------------------------------------------===//

  bool hasAttr(llvm::StringRef name) { return find(name) != nullptr; }
  int64_t intAttr(llvm::StringRef name, int64_t otherwise);
  float floatAttr(llvm::StringRef name, float otherwise);
  std::string stringAttr(llvm::StringRef name, llvm::StringRef otherwise);
  std::optional<std::vector<int64_t>> intsAttr(llvm::StringRef name);
  const onnx::AttributeProto *find(llvm::StringRef name);
  /// The same; one of another type is reported by checkAllRead.
  const onnx::AttributeProto *find(llvm::StringRef name,
                                   onnx::AttributeProto::AttributeType type);
  /// Fails unless the attribute is absent or has this value.
  mlir::LogicalResult expectInt(llvm::StringRef name, int64_t value,
                                int64_t otherwise);
  /// Reports attributes that nobody asked for, or that have the wrong type.
  mlir::LogicalResult checkAllRead();

  //===--- results --------------------------------------------------------===//

  bool hasOutput(unsigned i) const {
    return i < static_cast<unsigned>(node.output_size()) &&
           !node.output(i).empty();
  }
  TensorValue makeValue(mlir::Type element, llvm::ArrayRef<DimExpr> dims) const;
  void setResult(TensorValue value, unsigned i = 0);
  mlir::LogicalResult setData(mlir::Value data, llvm::ArrayRef<DimExpr> dims,
                              unsigned i = 0);
  /// A result known at import.
  mlir::LogicalResult setContents(std::vector<DimExpr> contents,
                                  mlir::Type element,
                                  llvm::ArrayRef<DimExpr> dims, unsigned i = 0);
  /// The result is input `i` itself.
  mlir::LogicalResult forward(unsigned i);

  //===--- building -------------------------------------------------------===//

  /// NumPy's rule; moves bounds where a symbol meets a size above 1.
  mlir::FailureOr<Dims> broadcast(llvm::ArrayRef<DimExpr> a,
                                  llvm::ArrayRef<DimExpr> b);
  template <typename OpTy, typename... Args>
  mlir::Value create(llvm::ArrayRef<DimExpr> dims, mlir::Type element,
                     Args &&...args) {
    return OpTy::create(builder(), loc, getTensorType(dims, element),
                        std::forward<Args>(args)...)
        .getResult();
  }
  mlir::ArrayAttr dimsAttr(llvm::ArrayRef<DimExpr> dims) {
    return getDimsAttr(builder().getContext(), dims);
  }
  static mlir::Type elementOf(mlir::Value value) {
    return llvm::cast<mlir::RankedTensorType>(value.getType()).getElementType();
  }
  mlir::Value view(mlir::Value value, llvm::ArrayRef<DimExpr> dims);
  /// The same, of a value whose dims are known: none where they stay.
  mlir::Value view(mlir::Value value, llvm::ArrayRef<DimExpr> from,
                   llvm::ArrayRef<DimExpr> to) {
    return from == to ? value : view(value, to);
  }
  mlir::Value transpose(mlir::Value value, llvm::ArrayRef<DimExpr> dims,
                        llvm::ArrayRef<int64_t> perm);
  mlir::Value cast(mlir::Value value, llvm::ArrayRef<DimExpr> dims,
                   mlir::Type element);
  /// A scalar constant of a float or integer type.
  mlir::Value scalar(double value, mlir::Type element);

private:
  llvm::StringSet<> read;
  std::string mistyped;
};

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_OPBINDER_H
