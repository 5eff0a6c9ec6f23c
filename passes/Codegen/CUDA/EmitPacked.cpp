//===- EmitPacked.cpp - Weights of few bits in CUDA -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Rows of f16 and bf16 go to tensor cores where codes are whole numbers; all
// other floats, and bytes, to fused multiply-adds and dot products of bytes.
// Either way few rows and many rows have the same bits.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CUDA/Emit.h"
#include "passes/Codegen/CUDA/EmitBody.h"

#include "llvm/Support/Format.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cuda;

namespace {
class PackedText {
public:
  PackedText(KernelText &kt, PackedLinearOp op)
      : kt(kt), op(op), packed(op.getPacked()), panels(packed.getPanels()) {}
  LogicalResult emit();

private:
  /// How a variant divides rows and columns among blocks.
  struct Tiles {
    int64_t rows, columns;
  };
  void define(CudaVariant variant, Tiles tiles, StringRef before,
              StringRef call);
  /// Variants for at most `few.most` rows, and for all.
  void defineBoth(int64_t most, llvm::function_ref<void(CudaVariant)> few,
                  llvm::function_ref<void(CudaVariant)> many);
  int64_t pieceOf(int64_t block, int64_t most, int64_t unit);
  std::string format();
  std::string store();
  void emitFloats();
  void emitBytes();
  void emitMma(int64_t piece);
  int64_t mmaPiece();

  KernelText &kt;
  PackedLinearOp op;
  PackedAttr packed;
  PackedPanels panels;
  std::string lambda;
};
} // namespace

static std::string text(int64_t value) { return std::to_string(value); }

std::string PackedText::format() {
  std::string zero = panels.zeroBytes == 0   ? "ferrite::NoZero"
                     : panels.zeroBytes == 1 ? "ferrite::u8"
                                             : "float";
  return "ferrite::PackedFormat<" + text(panels.bits) + ", " +
         text(panels.depth) + ", " + text(panels.blockDepth()) + ", " +
         text(packed.getShift()) + ", " + storageName(packed.getScale()) +
         ", " + zero + ">";
}

std::string PackedText::store() {
  unsigned result = kt.result();
  return "[&](i64 m, i64 n, float acc) {\n      ferrite::store(" +
         kt.ptr(result) + " + " + kt.offset(result, {"m", "n"}) +
         ", epilogue(acc" + sideArguments(kt, op.getEpilogue().front(), 2) +
         "));\n    }";
}

/// The k that are summed before they are scaled: all of a block, or the largest
/// part of it of up to `most` that is whole `unit`s. A block of all k has
/// pieces of `most`, the last of which may be shorter.
int64_t PackedText::pieceOf(int64_t block, int64_t most, int64_t unit) {
  if (block >= panels.depth)
    return most;
  for (int64_t piece = std::min(block, most); piece > unit; --piece)
    if (block % piece == 0 && piece % unit == 0)
      return piece;
  return unit;
}

void PackedText::define(CudaVariant variant, Tiles tiles, StringRef before,
                        StringRef call) {
  int64_t across = (panels.columns + tiles.columns - 1) / tiles.columns;
  variant.threads = 256;
  variant.grid = {kt.sizeStep(0, 0),
                  {GridStep::Ceil, tiles.rows},
                  {GridStep::Factor, across}};
  std::string body =
      "const ferrite::u32 place = (ferrite::u32)unit;\nconst i64 firstRow = "
      "place % groups * " +
      text(tiles.rows) + ";\nconst i64 tile = place / groups;\n" + call.str();
  kt.define(std::move(variant),
            lambda + "typedef " + format() + " Format;\n" + before.str() +
                "const ferrite::u32 groups = (ferrite::u32)((" + kt.dim(0, 0) +
                " + " + text(tiles.rows - 1) + ") / " + text(tiles.rows) +
                ");\nfor (i64 unit = ferrite::block(); unit < p.units; unit "
                "+= ferrite::blocks()) {\n" +
                indent(body) + "}\n");
}

void PackedText::defineBoth(int64_t most,
                            llvm::function_ref<void(CudaVariant)> few,
                            llvm::function_ref<void(CudaVariant)> many) {
  GridStep rows = kt.sizeStep(0, 0);
  bool isSize = rows.kind == GridStep::Size;
  CudaVariant variant;
  variant.symbol = kt.name() + "_few";
  variant.guard = isSize ? rows.value : -1;
  variant.most = most;
  if (isSize || rows.value <= most)
    few(variant);
  variant = {};
  variant.symbol = kt.name() + "_many";
  if (isSize || rows.value > most)
    many(variant);
}

void PackedText::emitFloats() {
  std::string number = "[](ferrite::u32 code) { return ferrite::smallFloat<" +
                       text(packed.getShift()) + ">(code); }";
  std::string table, tableName = kt.name() + "_codes";
  auto sharedBytes = [](int64_t rows) { return 16 * rows * 64 * 4; };
  auto copyTable = [&](int64_t rows) -> std::string {
    if (!packed.getCodes())
      return "";
    return "float *const table = ferrite::shared<float>(" +
           text(sharedBytes(rows)) + ");\nif (ferrite::thread() < " +
           text(packed.getCodes().size()) +
           ")\n  table[ferrite::thread()] = " + tableName +
           "[ferrite::thread()];\nferrite::sync();\n";
  };
  if (DenseF32ArrayAttr codes = packed.getCodes()) {
    llvm::raw_string_ostream stream(table);
    stream << "FERRITE_TABLE float " << tableName << "[] = {";
    for (auto [i, code] : llvm::enumerate(codes.asArrayRef()))
      stream << (i ? ", " : "") << llvm::format("%.9ef", double(code));
    stream << "};\n";
    kt.preamble(table);
    number = "[&](ferrite::u32 code) { return table[code]; }";
  }
  const OperandLayout &x = kt.operand(0);
  std::string k = text(panels.depth), aligned, four;
  if (x.strides[1] == 1) {
    aligned = "const bool aligned = (ferrite::u64)x0 % 16 == 0 && " +
              kt.stride(0, 0) + " % 4 == 0;\n";
    four = "ferrite::loadFour(x0 + " + kt.offset(0, {"m", "0"}) + ", k, " + k +
           ", aligned, v);";
  } else {
    four = "for (int i = 0; i < 4; ++i)\n        v[i] = k + i < " + k +
           " ? (float)ferrite::load(x0 + " + kt.offset(0, {"m", "(k + i)"}) +
           ") : 0.0f;";
  }
  int64_t piece = pieceOf(panels.blockDepth(), 128, panels.stepDepth());
  auto define = [&](CudaVariant variant, int64_t rows) {
    variant.sharedBytes = sharedBytes(rows) + (packed.getCodes() ? 4 * 16 : 0);
    this->define(
        variant, {rows, 64}, copyTable(rows) + aligned,
        "ferrite::packedFloats<Format, " + text(piece) + ", " + text(rows) +
            ">(\n    (const ferrite::u8 *)x1, tile, firstRow, " + kt.dim(0, 0) +
            ", " + text(panels.columns) +
            ",\n    [&](i64 m, i64 k, float (&v)[4]) {\n      " + four +
            "\n    },\n    " + number + ",\n    " + store() + ");\n");
  };
  defineBoth(
      1, [&](CudaVariant variant) { define(variant, 1); },
      [&](CudaVariant variant) { define(variant, 8); });
}

void PackedText::emitBytes() {
  RoundedRows rows = packed.getRows(op.getInputBlock());
  int64_t piece = std::min(rows.blockDepth(), panels.blockDepth());
  auto define = [&](CudaVariant variant, int64_t count) {
    variant.sharedBytes = 16 * count * 64 * 4;
    this->define(variant, {count, 64}, "",
                 "ferrite::packedBytes<Format, " + text(piece) + ", " +
                     text(rows.blockDepth()) + ", " +
                     text(rows.scalesOffset()) + ", " + text(count) +
                     ">(\n    (const ferrite::u8 *)x1, tile, (const "
                     "ferrite::u8 *)x0, " +
                     kt.stride(0, 0) + ", firstRow, " + kt.dim(0, 0) + ", " +
                     text(panels.columns) + ",\n    " + store() + ");\n");
  };
  defineBoth(
      1, [&](CudaVariant variant) { define(variant, 1); },
      [&](CudaVariant variant) { define(variant, 8); });
}

/// The pieces of tensor cores, or 0 where they cannot do it: 16 k at a time,
/// of codes that are whole numbers.
int64_t PackedText::mmaPiece() {
  Type x = kt.element(0);
  if ((!x.isF16() && !x.isBF16()) || kt.operand(0).strides[1] != 1 ||
      packed.getCodes() || panels.zeroBytes == 4 || packed.getShift() < 0 ||
      packed.getShift() > 128)
    return 0;
  bool isOne = panels.blockDepth() >= panels.depth;
  if (!isOne && panels.block % 16 != 0)
    return 0;
  int64_t piece = pieceOf(panels.blockDepth(), 128, 16);
  return piece == 16 || piece % 32 == 0 ? piece : 0;
}

void PackedText::emitMma(int64_t piece) {
  std::string type = storageName(kt.element(0)), stride = kt.stride(0, 0);
  int64_t few = panels.bits == 8 ? 6 : 8, many = 4;
  auto product = [&](const char *name, int64_t stages) {
    return "ferrite::" + std::string(name) + "<" + type + ", Format, " +
           text(piece) + ", " + text(stages) + "> product = {\n      x0, " +
           kt.dim(0, 0) + ", " + stride + ", (const ferrite::u8 *)x1 + ";
  };
  std::string run = "product.run(" + text(panels.columns) + ", ";
  defineBoth(
      32,
      [&](CudaVariant variant) {
        variant.sharedBytes =
            std::max<int64_t>(8 * few * panels.bits * 128, 8 * 16 * 32 * 4);
        define(variant, {16, 32},
               "const bool aligned = ((ferrite::u64)x0 | (ferrite::u64)" +
                   stride + " * 2) % 4 == 0;\n",
               "const " + product("PackedFew", few) +
                   "tile / 2 * Format::panelBytes, (int)(tile % 2) * 32, "
                   "firstRow, aligned};\n" +
                   run + "tile / 2 * 64, " + store() + ");\n");
      },
      [&](CudaVariant variant) {
        variant.sharedBytes = many * (128 * 64 + panels.bits * 256);
        define(variant, {128, 64},
               "const bool aligned = ((ferrite::u64)x0 | (ferrite::u64)" +
                   stride + " * 2) % 16 == 0;\n",
               "const " + product("PackedMany", many) +
                   "tile * Format::panelBytes, firstRow, aligned};\n" + run +
                   "tile * 64, " + store() + ");\n");
      });
}

LogicalResult PackedText::emit() {
  if (!panels.isValid())
    return kt.error() << "expects codes of 2, 3, 4 or 8 bits in blocks of "
                         "whole words, but got "
                      << packed;
  FailureOr<std::string> made =
      emitBodyLambda(op.getEpilogue().front(), "epilogue");
  if (failed(made))
    return failure();
  lambda = *made;
  if (op.getInputBlock())
    emitBytes();
  else if (int64_t piece = mmaPiece())
    emitMma(piece);
  else
    emitFloats();
  return success();
}

LogicalResult cuda::emit(KernelText &kt, PackedLinearOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  return PackedText(kt, op).emit();
}

LogicalResult cuda::emit(KernelText &kt, RoundRowsOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  int64_t columns = kt.operand(0).shape[1];
  if (ShapedType::isDynamic(columns))
    return kt.error() << "rounding expects static columns";
  RoundedRows rows{columns, static_cast<int64_t>(op.getBlock()),
                   static_cast<int64_t>(op.getSumBlock())};
  unsigned result = kt.result();
  std::string group = "[&](i64, float) {}", sum = "[&](i64, int) {}", before,
              put;
  if (kt.element(result).isF32()) {
    put = "[&](i64 k, float q, float scale) { ferrite::store(" +
          kt.ptr(result) + " + " + kt.offset(result, {"i0", "k"}) +
          ", q * scale); }";
  } else {
    before = "ferrite::i8 *const bytes = (ferrite::i8 *)" + kt.ptr(result) +
             " + " + kt.offset(result, {"i0", "0"}) +
             ";\nfor (i64 k = " + text(columns) + " + ferrite::lane(); k < " +
             text(rows.scalesOffset()) + "; k += 32)\n  bytes[k] = 0;\n";
    put = "[&](i64 k, float q, float) { bytes[k] = (ferrite::i8)(int)q; }";
    group = "[&](i64 g, float scale) {\n      if (ferrite::lane() == 0)\n      "
            "  ((float *)(bytes + " +
            text(rows.scalesOffset()) + "))[g] = scale;\n    }";
    sum = "[&](i64 s, int total) {\n      if (ferrite::lane() == 0)\n        "
          "((int *)(bytes + " +
          text(rows.sumsOffset()) + "))[s] = total;\n    }";
  }
  defineRows(kt, 0, 1,
             before + "ferrite::roundRow<" + text(columns) + ", " +
                 text(rows.blockDepth()) + ", " + text(rows.sumDepth()) +
                 ">(\n    [&](i64 k) { return (float)ferrite::load(x0 + " +
                 kt.offset(0, {"i0", "k"}) + "); },\n    " + group + ",\n    " +
                 put + ",\n    " + sum + ");\n");
  return success();
}

LogicalResult cuda::emit(KernelText &kt, PackKeysOp) {
  CudaVariant variant;
  variant.symbol = kt.name();
  variant.threads = 32;
  variant.grid = {{GridStep::Factor, 0}};
  kt.define(std::move(variant), "");
  return success();
}
