//===- WireScanner.h - A model without its weights --------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Protobuf reads a message whole: a 3 GB model would be 3 GB of heap, and above
// 2 GB it is refused. The scanner walks the encoded bytes first and writes a
// copy without what the compiler never looks at: the bytes of large tensors
// (they stay in the mapped file, the copy says where) and documentation. The
// walk is also where a hostile file is stopped: every length is checked against
// the message around it, nesting is bounded, and the memory that the parsed
// form will need is counted before anything is allocated.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_WIRESCANNER_H
#define FERRITE_LIB_FRONTEND_ONNX_WIRESCANNER_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <string>
#include <vector>

namespace ferrite::frontend {

/// Bytes of the scanned file.
struct FileRange {
  uint64_t offset = 0;
  uint64_t length = 0;
};

/// A tensor of the copy that lost its data is marked external, with this key
/// and, as value, its index into StrippedModel::ranges.
inline constexpr llvm::StringLiteral kInlineDataKey = "ferrite.inline";

/// A tensor keeps its data up to this size, so that it may be folded.
inline constexpr uint64_t kSmallTensorBytes = 64 * 1024;

struct StrippedModel {
  /// An encoded ModelProto.
  std::string bytes;
  std::vector<FileRange> ranges;
};

/// Scans an encoded ModelProto. The error says what is wrong with the file, at
/// which byte.
llvm::Expected<StrippedModel> stripModel(llvm::StringRef file);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_WIRESCANNER_H
