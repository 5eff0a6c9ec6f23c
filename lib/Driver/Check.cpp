//===- Check.cpp - Everything that keeps a model from compiling -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Check.h"

#include "lib/Driver/Compile.h"

using namespace mlir;
using namespace ferrite;
using llvm::json::Array;
using llvm::json::Object;

LogicalResult ferrite::check(MLIRContext &context, const std::string &model,
                             ImportOptions options, ImportSummary &summary) {
  options.collectAll = true;
  auto imported = importOnnxModel(&context, model, options, &summary);
  if (failed(imported))
    return failure();
  // What imports may still have no kernel: the passes alone know.
  for (Phase phase :
       {Phase::Normalize, Phase::Fuse, Phase::Select, Phase::Plan}) {
    PassManager pm(&context);
    buildPipeline(phase, pm);
    if (failed(pm.run(**imported)))
      return failure();
  }
  return success();
}

Object ferrite::summarizeCheck(StringRef model, const ImportSummary &summary,
                               Array problems) {
  Array ops;
  for (const auto &op : summary.ops)
    ops.push_back(Object{{"op", op.first()}, {"nodes", op.second}});
  return Object{{"source", llvm::json::fixUTF8(model)},
                {"onnx_nodes", summary.nodes},
                {"opset", summary.opset},
                {"ops", std::move(ops)},
                {"problems", std::move(problems)}};
}
