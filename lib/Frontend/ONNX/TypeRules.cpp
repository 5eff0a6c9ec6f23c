//===- TypeRules.cpp - Whose fault it is that an op is invalid ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The checker of ONNX does not look at types, and handlers of many ops do not
// either. What they make of a wrong one is refused by the verifier of its op;
// that message speaks of our dialect, and is put into words of the model here.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Importer.h"
#include "lib/Frontend/ONNX/OnnxLibrary.h"
#include "lib/Frontend/ONNX/OpBinder.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;

namespace ferrite::frontend {

int32_t Importer::getStandardType(Type element) {
  for (int32_t type = 1; element && isStandardType(type); ++type)
    if (getElementType(type) == element)
      return type;
  return 0;
}

LogicalResult Importer::verifyFrom(OpBinder &binder, Operation *before) {
  Block *block = builder.getInsertionBlock();
  auto first = before ? std::next(before->getIterator()) : block->begin();
  for (Operation &op : llvm::make_range(first, block->end())) {
    std::string problem;
    LogicalResult verified = success();
    {
      ScopedDiagnosticHandler handler(builder.getContext(),
                                      [&](Diagnostic &diagnostic) {
                                        if (problem.empty())
                                          problem = diagnostic.str();
                                        return success();
                                      });
      verified = verify(&op);
    }
    if (succeeded(verified))
      continue;
    const onnx::NodeProto &node = binder.node;
    for (unsigned i = 0; i < binder.numInputs(); ++i) {
      int32_t type =
          binder.hasInput(i) ? getStandardType(binder.input(i).element) : 0;
      if (type && !takesType(node, opset, i, type))
        return binder.error("its input " + Twine(i) + " has elements of " +
                            getTypeName(type) + ", which the op does not take");
    }
    return binder.unsupported("it is not supported as it is written: " +
                              StringRef(problem).split("' op ").second);
  }
  return success();
}

} // namespace ferrite::frontend
