//===- Batches.h - A user's data as runs of an entry ------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What --calib and `verify --metric` are given: arrays named as inputs, or as
// inputs with `.0`, `.1`, .. for one run after another. Where the first dim of
// all inputs is one symbol, such a run is cut into rows, so that memory is that
// of a few thousand tokens however long the file is. The past of a decoder may
// be left out: it is empty then.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_BATCHES_H
#define FERRITE_LIB_DRIVER_BATCHES_H

#include "ferrite/runtime.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <map>
#include <string>
#include <vector>

namespace ferrite {

struct Batch {
  std::vector<FerriteTensor> inputs; ///< in the entry's order
  std::map<std::string, int64_t> symbols;
  /// Those of the past that was left out: 0, whatever the entry's limits are.
  std::vector<std::string> emptySymbols;
};

/// The user's arrays for `func`, an entry before select. They are borrowed;
/// `option` is what errors call the data. Refused, with the array's name: none
/// or empty ones, unknown names, other types, and shapes that disagree.
mlir::FailureOr<std::vector<Batch>>
makeBatches(mlir::func::FuncOp func, llvm::ArrayRef<FerriteTensor> data,
            llvm::StringRef option, mlir::Location loc);

/// Of several entries the one whose inputs the arrays are named after.
mlir::func::FuncOp findEntry(mlir::ModuleOp module,
                             llvm::ArrayRef<FerriteTensor> data);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_BATCHES_H
