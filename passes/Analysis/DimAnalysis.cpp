//===- DimAnalysis.cpp - The dims of every tensor as expressions ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/DimAnalysis.h"

using namespace mlir;
using namespace ferrite;

void DimAnalysis::set(Value value, ArrayRef<DimExpr> dims) {
  known[value] = std::make_unique<Dims>(dims.begin(), dims.end());
}

void DimAnalysis::forget(Operation *op) {
  for (Value result : op->getResults())
    known.erase(result);
}

Dims DimAnalysis::fresh(Value value, StringRef stem) {
  Dims dims;
  for (int64_t size : cast<RankedTensorType>(value.getType()).getShape()) {
    if (ShapedType::isDynamic(size))
      dims.push_back(DimExpr::symbol((stem + Twine(freshSymbols++)).str()));
    else
      dims.push_back(DimExpr(size));
  }
  return dims;
}

/// Joins what was inferred with what the type knows, or says where they part.
static LogicalResult joinWithType(Operation *op, RankedTensorType type,
                                  Dims &dims) {
  if (static_cast<int64_t>(dims.size()) != type.getRank())
    return op->emitError("a result of rank ")
           << type.getRank() << " follows from operands that give rank "
           << dims.size();
  for (auto [dim, size] : llvm::zip_equal(dims, type.getShape())) {
    if (ShapedType::isDynamic(size))
      continue;
    if (dim.constant() && !dim.isConstant(size))
      return op->emitError("a result of ")
             << type << " follows from operands that give " << dim.str()
             << " where it has " << size;
    dim = DimExpr(size);
  }
  return success();
}

LogicalResult DimAnalysis::visit(Operation *op) {
  bool hasTensor = llvm::any_of(op->getResults(), [](Value result) {
    return isa<RankedTensorType>(result.getType());
  });
  if (!hasTensor)
    return success();
  auto shaped = dyn_cast<SymbolicShapeOpInterface>(op);
  if (!shaped) {
    for (Value result : op->getResults()) {
      auto type = dyn_cast<RankedTensorType>(result.getType());
      if (type && !type.hasStaticShape())
        return op->emitError("the dims of ") << type << " follow from nothing";
      if (type)
        set(result, fresh(result, "")); // static: no symbol is made
    }
    return success();
  }
  SmallVector<Dims> operands, results;
  for (Value operand : op->getOperands())
    operands.emplace_back(isa<RankedTensorType>(operand.getType())
                              ? Dims(getDims(operand))
                              : Dims());
  if (failed(shaped.inferDims(operands, results)))
    return failure();
  for (auto [result, dims] : llvm::zip_equal(op->getResults(), results)) {
    if (failed(
            joinWithType(op, cast<RankedTensorType>(result.getType()), dims)))
      return failure();
    set(result, dims);
  }
  return success();
}

ArrayRef<DimExpr> DimAnalysis::getDims(Value value) {
  auto found = known.find(value);
  if (found != known.end())
    return *found->second;
  Operation *op = value.getDefiningOp();
  // The diagnostic of a failure says where; here the rewrite goes on.
  if (!op || failed(visit(op)))
    set(value, fresh(value, "?"));
  return *known.find(value)->second;
}

FailureOr<DimAnalysis> DimAnalysis::compute(func::FuncOp func) {
  DimAnalysis analysis;
  for (BlockArgument argument : func.getArguments()) {
    auto type = dyn_cast<RankedTensorType>(argument.getType());
    if (!type)
      continue;
    auto attr =
        func.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), kDimsAttr);
    if (!attr) {
      // A fragment without names: each `?` is its own.
      std::string stem = "arg" + std::to_string(argument.getArgNumber()) + ".";
      analysis.set(argument, analysis.fresh(argument, stem));
      continue;
    }
    std::optional<Dims> dims = parseDims(attr);
    if (!dims || getTensorType(*dims, type.getElementType()) != type) {
      func.emitError("argument ") << argument.getArgNumber() << " of " << type
                                  << " cannot have the dims " << attr;
      return failure();
    }
    analysis.set(argument, *dims);
  }
  for (Block &block : func.getBody())
    for (Operation &op : block)
      if (failed(analysis.visit(&op)))
        return failure();
  return analysis;
}
