//===- FuseAttentionMaskBuilder.h - A mask as operands ----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Private to FuseAttentionMask.cpp (what becomes a mask or a bias) and
// FuseAttentionWindow.cpp (what becomes a window).
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_FUSEATTENTIONMASKBUILDER_H
#define FERRITE_PASSES_FUSION_FUSEATTENTIONMASKBUILDER_H

#include "passes/Fusion/FuseAttentionMask.h"

namespace ferrite {

class MaskBuilder {
public:
  MaskBuilder(mlir::OpBuilder &builder, mlir::Location loc, DimAnalysis &dims,
              ScoreSpace &context, llvm::ArrayRef<ScoreStep> steps,
              Reject reject)
      : builder(builder), dims(dims), context(context), scores(context.scores),
        masks(context.masks), exprs(masks.getExprs()), steps(steps),
        reject(reject), wide(makeBuilder(loc, wideAxes(), context.builtWide)),
        narrow(makeBuilder(loc, narrowAxes(), context.built)),
        ofQuery(makeBuilder(loc, queryAxes(), context.builtQuery)),
        ofBatch(makeBuilder(loc, {queryAxes()[0]}, context.builtPrefix)) {}

  /// What the steps do.
  llvm::FailureOr<AttentionMask> run();
  llvm::FailureOr<AttentionMask> ofTerms(llvm::ArrayRef<MaskTerm> terms,
                                         bool inShortFloats);

private:
  llvm::SmallVector<NodeAxis> wideAxes() const {
    return {{scores.batch, scores.batches},
            {scores.head, scores.heads},
            {scores.query, scores.queries},
            {scores.key, scores.keys}};
  }
  llvm::SmallVector<NodeAxis> narrowAxes() const {
    return {{scores.batch, scores.batches}, {scores.key, scores.keys}};
  }
  llvm::SmallVector<NodeAxis> queryAxes() const {
    return {{scores.batch, scores.batches}, {scores.query, scores.queries}};
  }
  NodeBuilder makeBuilder(mlir::Location loc, llvm::ArrayRef<NodeAxis> axes,
                          BuiltNodes &built) {
    return NodeBuilder(builder, loc, dims, masks, axes, built);
  }

  llvm::FailureOr<AttentionMask> build(llvm::ArrayRef<MaskTerm> terms,
                                       bool inShortFloats, std::string &reason);
  void setWindow(MaskClass &found, AttentionMask &mask);
  void giveUp(MaskClass &found, const MaskNode *keep);
  void setDistances(MaskClass &found, AttentionMask &mask);
  void setSegments(MaskClass &found, AttentionMask &mask);
  mlir::Value toFull(NodeBuilder &nodes, BuiltNodes &built,
                     const MaskNode *node, const Dims &full);
  std::string whyNot(const MaskClass &found);
  mlir::Value buildKeep(llvm::ArrayRef<const MaskNode *> keeps);
  mlir::Value buildBias(llvm::ArrayRef<const MaskNode *> biases);
  mlir::Value toSmallFloat(mlir::Value bias);
  llvm::FailureOr<mlir::Value> takeGraphs();
  mlir::Value toRank4(const ScoreStep &step);
  const MaskNode *evaluateStep(const ScoreStep &step);
  static double roundFill(double fill, bool inShortFloats);

  mlir::OpBuilder &builder;
  DimAnalysis &dims;
  ScoreSpace &context;
  const ScoreCoords &scores;
  MaskAnalysis &masks;
  MaskExprs &exprs;
  llvm::ArrayRef<ScoreStep> steps;
  Reject reject;
  NodeBuilder wide, narrow, ofQuery, ofBatch;
};

} // namespace ferrite

#endif // FERRITE_PASSES_FUSION_FUSEATTENTIONMASKBUILDER_H
