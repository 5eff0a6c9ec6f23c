//===- EmitByteMatmul.cpp - Products of two activations of bytes in CUDA --===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CUDA/Emit.h"
#include "passes/Codegen/CUDA/EmitBody.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cuda;

LogicalResult cuda::emitByteMatmul(KernelText &kt, LinearOp op) {
  Block &epilogue = op.getEpilogue().front();
  FailureOr<std::string> lambda = emitBodyLambda(epilogue, "epilogue");
  if (failed(lambda))
    return failure();
  unsigned result = kt.result(), rank = kt.operand(result).shape.size();
  SmallVector<std::string> sizes, names;
  std::vector<GridStep> grid;
  for (unsigned d = 0; d + 2 < rank; ++d) {
    sizes.push_back(kt.dim(result, d));
    names.push_back("i" + std::to_string(d));
    grid.push_back(kt.sizeStep(result, d));
  }
  grid.insert(grid.end(), {{GridStep::Ceil, 1},
                           kt.sizeStep(result, rank - 2),
                           {GridStep::Ceil, 64},
                           kt.sizeStep(result, rank - 1),
                           {GridStep::Ceil, 64}});
  auto loaded = [&](unsigned i, ArrayRef<std::string> last) {
    unsigned own = kt.operand(i).shape.size();
    SmallVector<std::string> index(names.begin() + (rank - own), names.end());
    index.append(last.begin(), last.end());
    // What is broadcast has strides of 0; a size of 1 says nothing here.
    return "ferrite::load(" + kt.ptr(i) + " + " + kt.offset(i, index) + ")";
  };
  auto byte = [&](unsigned i, Value of, ArrayRef<std::string> last, bool zero,
                  const char *name) {
    bool isUnsigned = getElementTypeOrSelf(of).isUnsignedInteger();
    return "(int)" +
           (isUnsigned ? "ferrite::unsignedOf(" + loaded(i, last) + ")"
                       : loaded(i, last)) +
           (zero ? std::string(" - ") + name : "");
  };
  unsigned next = 2;
  std::string zeros;
  bool zeroA = !!op.getInputZero(), zeroB = !!op.getWeightZero();
  if (zeroA)
    zeros += "const int zeroA = ferrite::load(" + kt.ptr(next++) + ");\n";
  if (zeroB)
    zeros += "const int zeroB = ferrite::load(" + kt.ptr(next++) + ");\n";
  std::string sides;
  for (BlockArgument argument : epilogue.getArguments().drop_front())
    sides += ", " + loaded(next + argument.getArgNumber() - 1, {"m", "n"});
  std::string m = kt.dim(result, rank - 2), n = kt.dim(result, rank - 1),
              k = kt.dim(0, kt.operand(0).shape.size() - 1);
  SmallVector<std::string> target = names;
  target.append({"m", "n"});
  CudaVariant variant;
  variant.symbol = kt.name();
  variant.sharedBytes = 4 * 16 * (64 + 4 + 64 + 4);
  variant.grid = grid;
  std::string body =
      "const i64 acrossN = (" + n + " + 63) / 64;\nconst i64 acrossM = (" + m +
      " + 63) / 64;\nconst i64 batch = "
      "ferrite::quotient(unit, acrossN * acrossM);\nconst i64 tile = unit - "
      "batch * (acrossN * acrossM);\nconst i64 tileM = "
      "ferrite::quotient(tile, acrossN);\nconst i64 tileN = tile - tileM * "
      "acrossN;\n" +
      delinearize("batch", sizes, names) +
      "ferrite::productTile<int, 64, 64, true>(\n    " + m + ", " + n + ", " +
      k +
      ", tileM * 64, tileN * 64,\n    [&](i64 m, i64 k) "
      "{ return " +
      byte(0, op.getInput(), {"m", "k"}, zeroA, "zeroA") +
      "; },\n    [&](i64 k, i64 n) { return " +
      byte(1, op.getWeight(), {"k", "n"}, zeroB, "zeroB") +
      "; },\n    [&](i64 m, i64 n, int acc) {\n      ferrite::store(" +
      kt.ptr(result) + " + " + kt.offset(result, target) + ", epilogue(acc" +
      sides + "));\n    });\n";
  kt.define(std::move(variant),
            *lambda + zeros +
                "for (i64 unit = ferrite::block(); unit < p.units; unit += "
                "ferrite::blocks()) {\n" +
                indent(body) + "}\n");
  return success();
}
