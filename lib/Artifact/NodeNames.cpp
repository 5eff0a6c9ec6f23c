//===- NodeNames.cpp - The ONNX nodes in a location ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Artifact/NodeNames.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

std::string ferrite::nodeNames(Location loc) {
  llvm::SmallSetVector<StringAttr, 8> names;
  loc->walk([&](Location part) {
    if (auto name = dyn_cast<NameLoc>(part))
      names.insert(name.getName());
    return WalkResult::advance();
  });
  return llvm::join(
      llvm::map_range(names, [](StringAttr name) { return name.getValue(); }),
      ", ");
}
