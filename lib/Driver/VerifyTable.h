//===- VerifyTable.h - The errors that verify found -------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_VERIFYTABLE_H
#define FERRITE_LIB_DRIVER_VERIFYTABLE_H

#include "lib/Driver/Difference.h"
#include "lib/Reference/Tensor.h"

#include "mlir/IR/Location.h"
#include "llvm/Support/JSON.h"

namespace ferrite {

/// A row for each value that was compared; the worst, and the first above a
/// limit.
/// Element by element, as doubles.
Difference compareTensors(const reference::Tensor &expected,
                          const reference::Tensor &got);

class VerifyTable {
public:
  /// No limit when `maxError` is 0.
  explicit VerifyTable(double maxError) : maxError(maxError) {}

  struct Name {
    std::string value, node;
    bool isOutput;
  };
  /// `fusion`: what fusion changed in the value, where that is known.
  void add(const Name &name, const reference::Tensor &expected,
           const Difference &difference, const Difference *fusion);
  /// Said after the error, should there be one.
  void setNote(std::string text) { note = std::move(text); }
  /// Fills in the rows; an error at `loc` when a value is above the limit.
  mlir::LogicalResult finish(llvm::json::Object &summary, mlir::Location loc);

private:
  double maxError;
  llvm::json::Array rows;
  std::string worst, firstBad, firstBadFusion, note;
  double worstError = -1;
};

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_VERIFYTABLE_H
