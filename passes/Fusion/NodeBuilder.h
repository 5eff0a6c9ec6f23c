//===- NodeBuilder.h - Tensors from expressions of elements ----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// MaskAnalysis reads a graph as expressions of one element; this writes such an
// expression as a tensor again, over the axes that it depends on and no other:
// a padding mask that an exporter spread over queries comes out as [batch,
// keys], and the angles of a rotary embedding once for both halves.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_NODEBUILDER_H
#define FERRITE_PASSES_FUSION_NODEBUILDER_H

#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/MaskAnalysis.h"

namespace ferrite {

struct NodeAxis {
  DimExpr coord, extent;
};

/// What was built, to be shared by all that ask for the same.
using BuiltNodes = llvm::DenseMap<const MaskNode *, mlir::Value>;

class NodeBuilder {
public:
  NodeBuilder(mlir::OpBuilder &builder, mlir::Location loc, DimAnalysis &dims,
              MaskAnalysis &nodes, llvm::ArrayRef<NodeAxis> axes,
              BuiltNodes &built)
      : builder(builder), loc(loc), dims(dims), nodes(nodes), axes(axes),
        built(built) {}

  /// Empty when build() can make a tensor of `node`.
  std::string whyNot(const MaskNode *node);
  /// A value that broadcasts to the axes and has `node` as its elements.
  mlir::Value build(const MaskNode *node);
  /// The same with a dim for each axis, of size 1 where nothing depends on it.
  mlir::Value buildRanked(const MaskNode *node);

  /// An elementwise op whose result type follows by broadcasting.
  template <typename Op, typename... Args>
  mlir::Value broadcasting(mlir::Type element, mlir::ValueRange in,
                           Args &&...args);
  mlir::Value constant(mlir::Type element, double number);
  mlir::Value view(mlir::Value value, const Dims &to);

private:
  /// How one dim of a loaded tensor is read: these axes, outermost first, from
  /// `offset` on.
  struct DimRead {
    llvm::SmallVector<unsigned, 2> axes;
    DimExpr offset;
    int64_t step = 1;
  };
  std::optional<DimRead> readDim(const DimExpr &index, const DimExpr &size);
  std::optional<llvm::SmallVector<DimRead>> readDims(const MaskNode *load);
  std::optional<llvm::SmallVector<unsigned>> axesOf(const MaskNode *node);
  /// `index` as offset + sum of coefficient * axis.
  std::optional<std::pair<DimExpr, llvm::SmallVector<DimExpr>>>
  linear(const DimExpr &index) const;
  mlir::Value buildLoad(const MaskNode *node);
  mlir::Value buildIndex(const MaskNode *node);
  mlir::Value buildOp(const MaskNode *node, mlir::ValueRange in);
  /// A tensor of these axes, in this order, with a dim for each of `axes`.
  mlir::Value place(mlir::Value value, llvm::ArrayRef<unsigned> order);

  mlir::OpBuilder &builder;
  mlir::Location loc;
  DimAnalysis &dims;
  MaskAnalysis &nodes;
  llvm::SmallVector<NodeAxis, 4> axes;
  BuiltNodes &built;
};

template <typename Op, typename... Args>
mlir::Value NodeBuilder::broadcasting(mlir::Type element, mlir::ValueRange in,
                                      Args &&...args) {
  Dims sizes;
  for (mlir::Value operand : in)
    sizes = broadcastDims(sizes, dims.getDims(operand)).value_or(sizes);
  mlir::RankedTensorType type = getTensorType(sizes, element);
  if constexpr (std::is_same_v<Op, WhereOp>)
    return WhereOp::create(builder, loc, type, in[0], in[1], in[2]);
  else if constexpr (std::is_same_v<Op, CastOp> || std::is_same_v<Op, NotOp> ||
                     std::is_same_v<Op, CosOp> || std::is_same_v<Op, SinOp>)
    return Op::create(builder, loc, type, in[0]);
  else
    return Op::create(builder, loc, type, in[0], in[1],
                      std::forward<Args>(args)...);
}

} // namespace ferrite

#endif // FERRITE_PASSES_FUSION_NODEBUILDER_H
