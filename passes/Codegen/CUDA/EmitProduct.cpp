//===- EmitProduct.cpp - linear and matmul in CUDA ------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CUDA/Emit.h"
#include "passes/Codegen/CUDA/EmitBody.h"

#include "lib/Support/PanelLayout.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cuda;

std::string cuda::sideArguments(KernelText &kt, Block &epilogue,
                                unsigned firstSide) {
  std::string text;
  for (BlockArgument argument : epilogue.getArguments().drop_front()) {
    unsigned i = firstSide + argument.getArgNumber() - 1;
    text +=
        ", ferrite::load(" + kt.ptr(i) + " + " + kt.offset(i, {"m", "n"}) + ")";
  }
  return text;
}

static std::string boolText(bool is) { return is ? "true" : "false"; }

/// A variant of tiles of `tileRows` x 64 by fused multiply-adds.
static void defineTiles(KernelText &kt, LinearOp op, int64_t tileRows,
                        CudaVariant variant, StringRef lambda,
                        StringRef sides) {
  auto weight = cast<RankedTensorType>(op.getWeight().getType());
  int64_t depth = weight.getDimSize(0), columns = weight.getDimSize(1);
  bool isBytes = op.isOfBytes();
  std::string type = isBytes ? "int" : "float";
  int64_t group = kt.panelGroup(weight.getElementType());
  std::string rows = kt.dim(0, 0), k = std::to_string(depth),
              n = std::to_string(columns), tile = std::to_string(tileRows);
  int64_t panels = (columns + 63) / 64;
  variant.threads = 256;
  variant.sharedBytes = 4 * 16 * (tileRows + 4 + 64 + 4);
  variant.grid = {kt.sizeStep(0, 0),
                  {GridStep::Ceil, tileRows},
                  {GridStep::Factor, panels}};
  std::string zero =
      op.getInputZero() ? "const int zero = ferrite::load(x2);\n" : "";
  std::string x = isBytes ? "(int)(ferrite::u8)ferrite::load(" + kt.ptr(0) +
                                " + " + kt.offset(0, {"m", "k"}) + ")" +
                                (op.getInputZero() ? " - zero" : "")
                          : "(float)ferrite::load(" + kt.ptr(0) + " + " +
                                kt.offset(0, {"m", "k"}) + ")";
  kt.define(std::move(variant),
            lambda.str() + zero +
                "for (i64 unit = ferrite::block(); unit < p.units; unit += "
                "ferrite::blocks())\n  ferrite::productTile<" +
                type + ", " + tile + ", 64, " +
                boolText(kt.operand(0).strides[1] == 1) + ">(\n      " + rows +
                ", " + n + ", " + k + ", unit / " + std::to_string(panels) +
                " * " + tile + ", unit % " + std::to_string(panels) +
                " * 64,\n      [&](i64 m, i64 k) { return " + x +
                "; },\n      [&](i64 k, i64 n) {\n        return (" + type +
                ")ferrite::load(x1 + ferrite::panelOffset<" +
                std::to_string(group) + ">(k, n, " + k + ", " + n +
                "));\n      },\n      [&](i64 m, i64 n, " + type +
                " acc) {\n        ferrite::store(" + kt.ptr(kt.result()) +
                " + " + kt.offset(kt.result(), {"m", "n"}) + ", epilogue(acc" +
                sides.str() + "));\n      });\n");
}

/// Whether tensor cores multiply the operands as they are.
static bool isForTensorCores(KernelText &kt, LinearOp op) {
  Type weight = getElementTypeOrSelf(op.getWeight().getType());
  if (kt.operand(0).strides[1] != 1)
    return false;
  return op.isOfBytes() ||
         ((weight.isF16() || weight.isBF16()) && kt.element(0) == weight);
}

/// A variant of tiles by mma.sync. `warpsM` of the 8 warps are side by side
/// along the rows.
static void defineMma(KernelText &kt, LinearOp op, int64_t tileRows,
                      int64_t tileColumns, int64_t warpsM, int64_t stages,
                      CudaVariant variant, StringRef lambda, StringRef sides) {
  auto weight = cast<RankedTensorType>(op.getWeight().getType());
  int64_t depth = weight.getDimSize(0), columns = weight.getDimSize(1);
  bool isBytes = op.isOfBytes();
  int64_t group = kt.panelGroup(weight.getElementType());
  // A zero point of x is its product with the sums of the weights' columns,
  // which lie behind the panels.
  std::string before, acc = "acc";
  if (op.getInputZero()) {
    before = "const int zero = ferrite::load(x2);\nconst int *const columnSums "
             "= (const int *)((const ferrite::u8 *)x1 + " +
             std::to_string(BytePanels(depth, columns).sumsOffset()) + ");\n";
    acc = "ferrite::fma(-zero, columnSums[n], acc)";
  }
  int64_t across = (columns + tileColumns - 1) / tileColumns;
  variant.threads = 256;
  variant.sharedBytes = stages * (tileRows + tileColumns) * 64;
  variant.grid = {kt.sizeStep(0, 0),
                  {GridStep::Ceil, tileRows},
                  {GridStep::Factor, across}};
  std::string a = std::to_string(across), stride = kt.stride(0, 0);
  kt.define(
      std::move(variant),
      lambda.str() + before +
          "const bool aligned = (ferrite::u64)x0 % 16 == 0 && " + stride +
          " % " + (isBytes ? "16" : "8") +
          " == 0;\nfor (i64 unit = ferrite::block(); unit < p.units; unit "
          "+= ferrite::blocks()) {\n  const ferrite::MmaProduct<" +
          storageName(kt.element(0)) + ", " + storageName(kt.element(1)) +
          (isBytes ? ", int, " : ", float, ") + std::to_string(group) + ", " +
          std::to_string(tileRows) + ", " + std::to_string(tileColumns) + ", " +
          std::to_string(warpsM) + ", " + std::to_string(stages) +
          "> product = {\n      x0, " + kt.dim(0, 0) + ", " + stride +
          ", x1, " + std::to_string(depth) + ", " + std::to_string(columns) +
          ", unit / " + a + " * " + std::to_string(tileRows) + ", unit % " + a +
          " * " + std::to_string(tileColumns) +
          ", aligned};\n  product.run([&](i64 m, i64 n, " +
          (isBytes ? "int" : "float") +
          " acc) {\n    "
          "ferrite::store(" +
          kt.ptr(kt.result()) + " + " + kt.offset(kt.result(), {"m", "n"}) +
          ", epilogue(" + acc + sides.str() + "));\n  });\n}\n");
}

/// Whether warpgroups multiply the operands as they are: whole tiles of 64 k by
/// 64 columns of panels whose rows are one k each, rows of x where the copy
/// engine can find them.
static bool isForWarpgroups(KernelText &kt, LinearOp op) {
  auto weight = cast<RankedTensorType>(op.getWeight().getType());
  int64_t stride = kt.operand(0).strides[0];
  return kt.arch.hasWarpgroups() && !op.isOfBytes() &&
         isForTensorCores(kt, op) &&
         kt.panelGroup(weight.getElementType()) == 1 &&
         weight.getDimSize(0) > 0 && weight.getDimSize(0) % 64 == 0 &&
         weight.getDimSize(1) > 0 && weight.getDimSize(1) % 64 == 0 &&
         !kt.args.stride(0, 0) && stride > 0 && stride % 8 == 0;
}

/// A variant of tiles of 64 * `consumers` x `tileColumns` by wgmma, on blocks
/// that stay.
static void defineWarpgroups(KernelText &kt, LinearOp op, int64_t consumers,
                             int64_t tileColumns, int64_t stages,
                             CudaVariant variant, StringRef lambda,
                             StringRef sides) {
  auto weight = cast<RankedTensorType>(op.getWeight().getType());
  int64_t depth = weight.getDimSize(0), columns = weight.getDimSize(1),
          tileRows = 64 * consumers,
          across = (columns + tileColumns - 1) / tileColumns;
  variant.threads = 128 * (1 + consumers);
  // WarpgroupProduct::SHARED: places, and two barriers for each.
  variant.sharedBytes = stages * ((tileRows + tileColumns) * 128 + 2 * 8);
  variant.blocksPerSm = 1;
  variant.grid = {kt.sizeStep(0, 0),
                  {GridStep::Ceil, tileRows},
                  {GridStep::Factor, across}};
  TensorMap x, panels;
  x.argument = kt.args.pointer(0);
  if (std::optional<unsigned> rows = kt.args.dim(0, 0))
    x.rowArgument = *rows;
  else
    x.rowCount = kt.operand(0).shape[0];
  x.columns = depth;
  x.rowBytes = kt.operand(0).strides[0] * 2;
  x.boxRows = tileRows;
  panels.argument = kt.args.pointer(1);
  panels.rowCount = columns / 64 * depth;
  panels.columns = 64;
  panels.rowBytes = 128;
  panels.boxRows = 64;
  x.boxColumns = panels.boxColumns = 64;
  variant.maps = {x, panels};
  std::string rows = kt.dim(0, 0), a = std::to_string(across),
              tile = std::to_string(tileRows);
  // Neighbours are a word where rows are whole words.
  const OperandLayout &result = kt.operand(kt.result());
  std::string y = kt.ptr(kt.result()), aligned, stored;
  auto place = [&](const char *n) {
    return y + " + " + kt.offset(kt.result(), {"m", n});
  };
  if (result.strides[1] == 1 && !kt.args.stride(kt.result(), 0) &&
      result.strides[0] % 2 == 0) {
    aligned = "const bool aligned = (ferrite::u64)" + y + " % 4 == 0;\n";
    stored = "  ferrite::storePair(" + place("n") +
             ", at(n, first), at(n + 1, second), aligned);\n";
  } else {
    stored = "  ferrite::store(" + place("n") +
             ", at(n, first));\n  ferrite::store(" + place("(n + 1)") +
             ", at(n + 1, second));\n";
  }
  kt.define(
      std::move(variant),
      lambda.str() + "const ferrite::WarpgroupProduct<" +
          storageName(kt.element(0)) + ", " + std::to_string(consumers) + ", " +
          std::to_string(tileColumns) + ", " + std::to_string(stages) +
          "> product = {\n    p.maps[0], p.maps[1], " +
          std::to_string(depth / 64) + ", " + std::to_string(columns / 64) +
          ", " + rows + ", (ferrite::u32)((" + rows + " + " +
          std::to_string(tileRows - 1) + ") / " + tile + "), " + a + "};\n" +
          aligned +
          "product.run(p.units, [&](i64 m, i64 n, float first, float second) "
          "{\n  const auto at = [&](i64 n, float acc) { return epilogue(acc" +
          sides.str() + "); };\n" + stored + "});\n");
}

/// All rows go to warpgroups, so that the bits of one do not depend on how many
/// there are; tiles are as large as leaves no multiprocessor without one.
static void defineWarpgroups(KernelText &kt, LinearOp op, StringRef lambda,
                             StringRef sides) {
  int64_t columns =
      cast<RankedTensorType>(op.getWeight().getType()).getDimSize(1);
  // As many rows as give each multiprocessor of an H100 a tile of 128 x 256.
  constexpr int64_t multiprocessors = 132, all = INT64_MAX;
  int64_t large = multiprocessors * 128 / ((columns + 255) / 256);
  struct Tile {
    int64_t most, consumers, columns, stages; ///< stages: all of shared memory
  };
  SmallVector<Tile> tiles = {{64, 1, 64, 8}};
  if (columns > 64)
    tiles.push_back({large, 2, 128, 6});
  if (columns > 128)
    tiles.push_back({all, 2, 256, 4});
  tiles.back().most = all;
  GridStep rows = kt.sizeStep(0, 0);
  for (const Tile &tile : tiles) {
    bool isKnown = rows.kind != GridStep::Size;
    if (isKnown && rows.value > tile.most)
      continue;
    CudaVariant variant;
    variant.symbol = kt.name() + "_wg" + std::to_string(tile.columns);
    variant.guard = isKnown || tile.most == all ? -1 : rows.value;
    variant.most = tile.most;
    defineWarpgroups(kt, op, tile.consumers, tile.columns, tile.stages,
                     std::move(variant), lambda, sides);
    if (isKnown)
      break;
  }
}

LogicalResult cuda::emit(KernelText &kt, LinearOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  if (op.getSparse())
    return kt.error() << "linear of a weight whose blocks of zeros are left "
                         "out has no CUDA kernel";
  if (op.getInputBlock())
    return kt.error() << "linear of a rounded input has no CUDA kernel";
  if (cast<RankedTensorType>(op.getWeight().getType()).getRank() > 2)
    return emitByteMatmul(kt, op);
  if (op.getWeightZero())
    return kt.error() << "linear with zero points of the weight has no CUDA "
                         "kernel";
  Block &epilogue = op.getEpilogue().front();
  FailureOr<std::string> lambda = emitBodyLambda(epilogue, "epilogue");
  if (failed(lambda))
    return failure();
  unsigned firstSide = op.getInputZero() ? 3 : 2;
  std::string sides = sideArguments(kt, epilogue, firstSide);
  // In front of the others, which take what lies elsewhere than at 16 bytes.
  if (isForWarpgroups(kt, op))
    defineWarpgroups(kt, op, *lambda, sides);
  // Few rows: smaller tiles, so that no 7 of 8 rows are computed for nothing.
  GridStep rows = kt.sizeStep(0, 0);
  bool mma = isForTensorCores(kt, op);
  CudaVariant few, many;
  few.symbol = kt.name() + "_few";
  few.guard = rows.kind == GridStep::Size ? rows.value : -1;
  few.most = 32;
  if (rows.kind == GridStep::Size || rows.value <= few.most)
    mma ? defineMma(kt, op, 16, 64, 1, 4, few, *lambda, sides)
        : defineTiles(kt, op, 16, few, *lambda, sides);
  if (rows.kind == GridStep::Size || rows.value > few.most) {
    // What is converted takes registers, of which larger tiles leave none.
    int64_t largest = kt.element(0).isF32() ? 128 : 64;
    many.symbol = kt.name() + "_many";
    mma ? defineMma(kt, op, 128, 128, 2, 4, many, *lambda, sides)
        : defineTiles(kt, op, largest, many, *lambda, sides);
  }
  return success();
}

LogicalResult cuda::emit(KernelText &kt, MatmulOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  unsigned rank = kt.operand(2).shape.size();
  Type element = kt.element(2);
  std::string type = element.isF64()           ? "double"
                     : isa<FloatType>(element) ? "float"
                     : element.isInteger(64)   ? "i64"
                                               : "int";
  auto loaded = [&](unsigned i, ArrayRef<std::string> last) {
    SmallVector<std::string> index;
    for (unsigned d = 0; d + 2 < rank; ++d)
      index.push_back(isBroadcast(kt.operand(i), d) ? "0"
                                                    : "i" + std::to_string(d));
    index.append(last.begin(), last.end());
    std::string value =
        "ferrite::load(" + kt.ptr(i) + " + " + kt.offset(i, index) + ")";
    Type of = getElementTypeOrSelf(i == 0 ? op.getLhs().getType()
                                          : op.getRhs().getType());
    if (of.isUnsignedInteger() || of.isInteger(1))
      value = "ferrite::unsignedOf(" + value + ")";
    return "(" + type + ")" + value;
  };
  SmallVector<std::string> sizes, names;
  std::vector<GridStep> grid;
  for (unsigned d = 0; d + 2 < rank; ++d) {
    sizes.push_back(kt.dim(2, d));
    names.push_back("i" + std::to_string(d));
    grid.push_back(kt.sizeStep(2, d));
  }
  grid.push_back({GridStep::Ceil, 1});
  grid.push_back(kt.sizeStep(2, rank - 2));
  grid.push_back({GridStep::Ceil, 64});
  grid.push_back(kt.sizeStep(2, rank - 1));
  grid.push_back({GridStep::Ceil, 64});
  std::string m = kt.dim(2, rank - 2), n = kt.dim(2, rank - 1),
              k = kt.dim(0, rank - 1);
  SmallVector<std::string> target;
  for (unsigned d = 0; d + 2 < rank; ++d)
    target.push_back("i" + std::to_string(d));
  target.append({"m", "n"});
  CudaVariant variant;
  variant.symbol = kt.name();
  variant.sharedBytes = (element.isF64() || element.isInteger(64) ? 8 : 4) *
                        16 * (64 + 4 + 64 + 4);
  variant.grid = grid;
  std::string body =
      "const i64 acrossN = (" + n + " + 63) / 64;\nconst i64 acrossM = (" + m +
      " + 63) / 64;\nconst i64 batch = "
      "ferrite::quotient(unit, acrossN * acrossM);\nconst i64 tile = unit - "
      "batch * (acrossN * acrossM);\nconst i64 tileM = "
      "ferrite::quotient(tile, acrossN);\nconst i64 tileN = tile - tileM * "
      "acrossN;\n" +
      delinearize("batch", sizes, names) + "ferrite::productTile<" + type +
      ", 64, 64, " + boolText(kt.operand(0).strides[rank - 1] == 1) +
      ">(\n    " + m + ", " + n + ", " + k +
      ", tileM * 64, tileN * 64,\n    [&](i64 m, i64 k) { "
      "return " +
      loaded(0, {"m", "k"}) + "; },\n    [&](i64 k, i64 n) { return " +
      loaded(1, {"k", "n"}) + "; },\n    [&](i64 m, i64 n, " + type +
      " acc) { ferrite::store(x2 + " + kt.offset(2, target) + ", acc); });\n";
  kt.define(std::move(variant),
            "for (i64 unit = ferrite::block(); unit < p.units; unit += "
            "ferrite::blocks()) {\n" +
                indent(body) + "}\n");
  return success();
}
