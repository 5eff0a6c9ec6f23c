//===- Replay.h - An artifact's launches, one by one ------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Runs the launches of an entry in this thread and stops between them, so that
// `ferrite verify` sees what each stored. The runtime has no use for that; both
// run the artifact's own code on its own tables, and units of a launch compute
// the same bits however they are shared out.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_REPLAY_H
#define FERRITE_LIB_DRIVER_REPLAY_H

#include "ferrite/runtime.h"
#include "mlir/IR/Location.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/MemoryBuffer.h"

#include <memory>
#include <vector>

namespace ferrite {

class Replay {
public:
  /// `inputs`, in the entry's order, were accepted by ferriteSessionRun. All
  /// pointers must outlive the replay.
  static mlir::FailureOr<Replay> create(const FerriteModel *model, size_t entry,
                                        llvm::ArrayRef<FerriteTensor> inputs,
                                        mlir::Location loc);

  size_t launches() const { return entry->launch_count; }
  llvm::StringRef kernelOf(size_t launch) const;
  /// Runs the launches up to `last`, those before it included.
  void runTo(size_t last);
  size_t done() const { return next; }
  /// The arguments of a launch: pointers first, as its kernel takes them.
  llvm::ArrayRef<FerriteArg> arguments(size_t launch) const;

private:
  Replay() = default;
  FerriteArg argument(const FerriteAbiArg &arg) const;

  const FerriteModel *model = nullptr;
  const FerriteAbiEntry *entry = nullptr;
  std::vector<void *> inputs;
  std::vector<int64_t> values;
  std::vector<FerriteArg> args;
  std::vector<std::unique_ptr<char, void (*)(void *)>> outputs;
  std::unique_ptr<char, void (*)(void *)> arena{nullptr, free},
      scratch{nullptr, free};
  std::unique_ptr<llvm::MemoryBuffer> weightsFile;
  const char *weights = nullptr;
  size_t next = 0;
};

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_REPLAY_H
