//===- OutputFile.h - Files that appear whole or not at all -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_OUTPUTFILE_H
#define FERRITE_LIB_DRIVER_OUTPUTFILE_H

#include "mlir/IR/Location.h"
#include "mlir/Support/LLVM.h"

#include <string>
#include <vector>

namespace ferrite {

/// A folder beside the output, for what is written on the way there. Removed
/// with all in it at the end; what is to stay is moved out by keep().
class WorkFolder {
public:
  static mlir::FailureOr<WorkFolder> create(llvm::StringRef output,
                                            mlir::Location loc);
  WorkFolder(WorkFolder &&other) : path(std::exchange(other.path, {})) {}
  ~WorkFolder();

  std::string file(llvm::StringRef name) const;
  mlir::LogicalResult write(llvm::StringRef name, llvm::StringRef bytes,
                            mlir::Location loc) const;
  /// Renames a file of the folder to `to`, in one step.
  mlir::LogicalResult keep(llvm::StringRef name, llvm::StringRef to,
                           mlir::Location loc) const;

private:
  explicit WorkFolder(std::string path);
  std::string path;
};

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_OUTPUTFILE_H
