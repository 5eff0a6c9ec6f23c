//===- KvPool.h - What pools of keys and values hold ------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_DIALECTS_FERRITE_IR_KVPOOL_H
#define FERRITE_DIALECTS_FERRITE_IR_KVPOOL_H

#include "runtime/cache/Record.h"

#include "mlir/IR/BuiltinTypes.h"

namespace ferrite {

/// The elements that a pool of this type keeps of `depth` numbers of a token's
/// head; 0: it cannot keep so many.
inline int64_t kvPoolWidth(mlir::Type element, int64_t depth) {
  return element.isInteger(8)
             ? record::widthOf(element.isUnsignedInteger(), depth)
             : depth;
}

/// Of how many numbers a pool keeps `width` elements; 0: of none.
inline int64_t kvPoolDepth(mlir::Type element, int64_t width) {
  return element.isInteger(8)
             ? record::depthOf(element.isUnsignedInteger(), width)
             : width;
}

} // namespace ferrite
#endif // FERRITE_DIALECTS_FERRITE_IR_KVPOOL_H
