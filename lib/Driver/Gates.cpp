//===- Gates.cpp - What --require-fusion asks for -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Compile.h"

#include "mlir/IR/Diagnostics.h"

using namespace mlir;
using namespace ferrite;

LogicalResult ferrite::checkGates(const DriverOptions &options,
                                  const RemarkLog &remarks, Location loc) {
  for (StringRef gate : options.requireFusion) {
    auto [kind, wanted] = gate.split(':');
    int64_t fused = 0, candidates = 0, least = 0;
    std::string misses;
    for (const RemarkRecord &record : remarks.records()) {
      if (fusionKind(record.pass) != kind)
        continue;
      fused += record.passed;
      candidates += record.passed || record.missed;
      if (record.missed && misses.size() < 400)
        misses += "; " + record.node + ": " + record.reason;
    }
    bool known = wanted == "all" || wanted == "none" ||
                 (!wanted.getAsInteger(10, least) && least >= 0);
    if (kind.empty() || !known)
      return emitError(loc)
             << "--require-fusion takes KIND:all, KIND:none or KIND:N, not '"
             << gate << "'";
    bool holds = wanted == "all"    ? fused == candidates && fused > 0
                 : wanted == "none" ? fused == 0
                                    : fused >= least;
    if (!holds)
      return emitError(loc)
             << "--require-fusion=" << gate << ": " << fused << " of "
             << candidates << " candidates fused" << misses;
  }
  return success();
}
