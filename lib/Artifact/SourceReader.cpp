//===- SourceReader.cpp - The elements of a weight's source ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Artifact/SourceReader.h"

#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Path.h"

#include <algorithm>

using namespace mlir;
using namespace ferrite;

FailureOr<StringRef> ModelFolder::map(StringRef file, Location loc) {
  std::unique_ptr<llvm::MemoryBuffer> &buffer = files[file];
  if (!buffer) {
    StringRef folder = path;
    if (auto [model, rest] = file.split(":/"); others.contains(model)) {
      folder = others[model];
      file = rest;
    }
    bool leaves = llvm::sys::path::is_absolute(file);
    for (auto part = llvm::sys::path::begin(file);
         part != llvm::sys::path::end(file); ++part)
      leaves |= *part == "..";
    if (leaves)
      return emitError(loc)
             << "weight file '" << file << "' lies outside the model's folder";
    SmallString<256> full(folder);
    llvm::sys::path::append(full, file);
    if (auto found = elsewhere.find(file); found != elsewhere.end())
      full = found->second;
    // Not null-terminated: mapped, never read into memory.
    auto opened = llvm::MemoryBuffer::getFile(full, /*IsText=*/false,
                                              /*RequiresNullTerminator=*/false);
    if (!opened)
      return emitError(loc) << "cannot read weight file '" << full
                            << "': " << opened.getError().message();
    buffer = std::move(*opened);
  }
  return buffer->getBuffer();
}

//===--- opening ----------------------------------------------------------===//

FailureOr<SourceReader::Bits> SourceReader::openBits(Operation *op,
                                                     StringRef name,
                                                     SourceAttr source,
                                                     ModelFolder &folder) {
  FailureOr<StringRef> file = folder.map(source.getFile(), op->getLoc());
  std::optional<Kind> kind = kindOf(source.getType());
  if (failed(file))
    return failure();
  if (!kind)
    return op->emitError("weight '")
           << name << "' has elements of " << source.getType();
  Bits bits{nullptr, *kind, bitsOf(*kind) < 8 && *kind != Kind::Bool};
  int64_t count = 1;
  for (int64_t size : source.getShape())
    if (llvm::MulOverflow(count, size, count))
      count = INT64_MAX / 64;
  // From the first row's beginning to the last one's end.
  if (ArrayRef<int64_t> shape = source.getShape();
      source.getPitch() != 0 && count > 0 &&
      (llvm::MulOverflow(shape[0] - 1, source.getPitch(), count) ||
       llvm::AddOverflow(count, shape[1], count)))
    count = INT64_MAX / 64;
  int64_t bytes;
  if (bits.packed)
    bytes = llvm::divideCeil(count * bitsOf(*kind), 8);
  else if (llvm::MulOverflow(count, bytesOf(*kind), bytes))
    bytes = INT64_MAX;
  int64_t left = static_cast<int64_t>(file->size()) - source.getOffset();
  if (bytes > left)
    return op->emitError("weight '")
           << name << "' needs " << bytes << " bytes at " << source.getOffset()
           << " of '" << source.getFile() << "', which has " << file->size();
  bits.data = file->data() + source.getOffset();
  return bits;
}

FailureOr<SourceReader::Side>
SourceReader::openSide(Operation *op, StringRef name, Attribute attr,
                       int64_t axis, ModelFolder &folder) {
  Side side;
  auto setShape = [&](ArrayRef<int64_t> shape) {
    side.isOne = llvm::all_of(shape, [](int64_t size) { return size == 1; });
    if (axis < static_cast<int64_t>(shape.size()))
      side.blocks = shape[axis];
  };
  if (auto source = dyn_cast<SourceAttr>(attr)) {
    FailureOr<Bits> bits = openBits(op, name, source, folder);
    if (failed(bits))
      return failure();
    side.bits = *bits;
    setShape(source.getShape());
    return side;
  }
  auto dense = cast<DenseElementsAttr>(attr); // verified
  std::optional<Kind> kind = kindOf(dense.getElementType());
  if (!kind || *kind == Kind::Bool)
    return op->emitError("weight '")
           << name << "' is scaled by " << dense.getType();
  side.bits = {dense.getRawData().data(), *kind, false, dense.isSplat()};
  setShape(dense.getType().getShape());
  return side;
}

FailureOr<SourceReader> SourceReader::open(Operation *op, StringRef name,
                                           SourceAttr source,
                                           ModelFolder &folder) {
  SourceReader reader;
  FailureOr<Bits> bits = openBits(op, name, source, folder);
  if (failed(bits))
    return failure();
  reader.bits = *bits;
  DequantAttr dequant = source.getDequant();
  if (!dequant)
    return reader;
  FailureOr<Side> scale =
      openSide(op, name, dequant.getScale(), dequant.getAxis(), folder);
  if (failed(scale))
    return failure();
  reader.scale = *scale;
  if (dequant.getZero()) {
    FailureOr<Side> zero =
        openSide(op, name, dequant.getZero(), dequant.getAxis(), folder);
    if (failed(zero))
      return failure();
    reader.zero = *zero;
  }
  reader.block = dequant.getBlock();
  if (dequant.getCodes())
    reader.codes = dequant.getCodes().asArrayRef();
  ArrayRef<int64_t> shape = source.getShape();
  if (!shape.empty()) {
    reader.axisSize = std::max<int64_t>(shape[dequant.getAxis()], 1);
    for (int64_t size : shape.drop_front(dequant.getAxis() + 1))
      reader.inner *= std::max<int64_t>(size, 1);
  }
  return reader;
}

//===--- reading ----------------------------------------------------------===//

Element SourceReader::Bits::read(int64_t i) const {
  if (splat)
    i = 0;
  if (!packed)
    return readElement(kind, data, i);
  int64_t width = bitsOf(kind), first = i * width;
  // The high bits of a tiny element mean nothing when it is read.
  auto byte =
      static_cast<char>(static_cast<uint8_t>(data[first / 8]) >> (first % 8));
  return readElement(kind, &byte, 0);
}

int64_t SourceReader::sideIndex(const Side &side, int64_t i) const {
  if (side.isOne)
    return 0;
  int64_t row = i / inner, at = row % axisSize;
  if (block == 0)
    return at;
  return (row / axisSize * side.blocks + at / block) * inner + i % inner;
}

int64_t SourceReader::shared(int64_t at, int64_t step, int64_t count) const {
  if (scale.isOne && zero.isOne)
    return count;
  if (block == 0 && step == 1)
    return std::min(count, inner - at % inner);
  if (block != 0 && step == inner) {
    int64_t index = at / inner % axisSize;
    return std::min({count, block - index % block, axisSize - index});
  }
  return 1;
}

void SourceReader::readScaled(int64_t first, int64_t step, int64_t count,
                              float *to) const {
  for (int64_t done = 0; done < count;) {
    int64_t at = first + done * step,
            end = done + shared(at, step, count - done);
    double s = toDouble(scale.bits.kind, scale.bits.read(sideIndex(scale, at)));
    Element z;
    Kind zeroKind = bits.kind;
    if (!zero.empty()) {
      z = zero.bits.read(sideIndex(zero, at));
      zeroKind = zero.bits.kind;
    }
    for (; !codes.empty() && done < end; ++done, at += step)
      to[done] = dequantizeCode(codes, bits.read(at), s);
    for (; done < end; ++done, at += step)
      to[done] = dequantizeElement(bits.kind, bits.read(at), zeroKind, z, s);
  }
}
