//===- SourceReader.h - The elements of a weight's source -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What packing and scales hide: elements by their index in the file, row-major
// in the source's shape, before any transposition.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_ARTIFACT_SOURCEREADER_H
#define FERRITE_LIB_ARTIFACT_SOURCEREADER_H

#include "dialects/Ferrite/IR/Elements.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/MemoryBuffer.h"

#include <memory>

namespace ferrite {

/// The files beside a model, mapped read-only on first use.
class ModelFolder {
public:
  explicit ModelFolder(llvm::StringRef path) : path(path) {}

  /// A file that lies elsewhere and has a name as if it did not.
  void add(llvm::StringRef name, llvm::StringRef path) {
    elsewhere[name] = path.str();
  }
  /// Adds the folder of another model, whose files are named by `nameIn`.
  void addFolder(llvm::StringRef model, llvm::StringRef folder) {
    others[model] = folder.str();
  }
  static std::string nameIn(llvm::StringRef model, llvm::StringRef file) {
    return (model + ":/" + file).str();
  }

  /// Maps a file of the folder; an error at `loc` when there is none, or its
  /// name leaves the folder.
  mlir::FailureOr<llvm::StringRef> map(llvm::StringRef file,
                                       mlir::Location loc);

private:
  std::string path;
  llvm::StringMap<std::string> elsewhere;
  llvm::StringMap<std::string> others;
  llvm::StringMap<std::unique_ptr<llvm::MemoryBuffer>> files;
};

/// Plain data: threads read without a context. Files outlive it.
class SourceReader {
public:
  /// An error of `op` when the bytes of weight `name` are not in their file.
  static mlir::FailureOr<SourceReader> open(mlir::Operation *op,
                                            llvm::StringRef name,
                                            SourceAttr source,
                                            ModelFolder &folder);

  /// Of the bits; numbers of a scaled source are f32.
  Kind kind() const { return bits.kind; }
  bool isScaled() const { return !scale.empty(); }
  /// Whether elements lie as memory has them: then data() is theirs.
  bool isPlain() const { return !isScaled() && !bits.packed; }
  const char *data() const { return bits.data; }

  /// Element `i` as it is, without scale.
  Element element(int64_t i) const { return bits.read(i); }
  /// Of a scaled source, what element `i` is scaled by and less.
  double scaleAt(int64_t i) const {
    return toDouble(scale.bits.kind, scale.bits.read(sideIndex(scale, i)));
  }
  bool hasZero() const { return !zero.empty(); }
  Kind zeroKind() const { return zero.bits.kind; }
  Element zeroAt(int64_t i) const { return zero.bits.read(sideIndex(zero, i)); }
  /// Elements first, first + step, .. of a scaled source.
  void readScaled(int64_t first, int64_t step, int64_t count, float *to) const;

private:
  struct Bits {
    const char *data = nullptr;
    Kind kind = Kind::F32;
    bool packed = false;
    bool splat = false;
    Element read(int64_t i) const;
  };
  /// A scale or zero point.
  struct Side {
    Bits bits;
    bool isOne = true;
    /// On the axis: its own, because zero points may be padded to bytes.
    int64_t blocks = 1;
    bool empty() const { return !bits.data; }
  };
  static mlir::FailureOr<Bits> openBits(mlir::Operation *op,
                                        llvm::StringRef name, SourceAttr source,
                                        ModelFolder &folder);
  static mlir::FailureOr<Side> openSide(mlir::Operation *op,
                                        llvm::StringRef name,
                                        mlir::Attribute attr, int64_t axis,
                                        ModelFolder &folder);
  int64_t sideIndex(const Side &side, int64_t i) const;
  /// Of `count` elements from `at`, how many share scale and zero point.
  int64_t shared(int64_t at, int64_t step, int64_t count) const;

  Bits bits;
  Side scale, zero;
  llvm::ArrayRef<float> codes; ///< of the attribute; empty for none
  int64_t inner = 1;           ///< elements behind one index of the axis
  int64_t axisSize = 1;        ///< of the bits
  int64_t block = 0;
};

} // namespace ferrite
#endif // FERRITE_LIB_ARTIFACT_SOURCEREADER_H
