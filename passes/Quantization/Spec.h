//===- Spec.h - What --quantize asks for ------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_QUANTIZATION_SPEC_H
#define FERRITE_PASSES_QUANTIZATION_SPEC_H

#include "mlir/Support/LLVM.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"

#include <optional>
#include <string>
#include <vector>

namespace ferrite {

/// How a weight is stored, and the input that it is multiplied with.
struct QuantFormat {
  enum class Scale { F16, BF16, F32 };

  int bits = 0;               ///< of the weight: 2, 3, 4 or 8; 0: it stays wide
  int inputBits = 0;          ///< of the input: 4 or 8; 0: it is not rounded
  int64_t group = 0;          ///< along K; 0: one scale for each column
  bool isNormalFloat = false; ///< the code book NF4 instead of integers
  bool isAsymmetric = false;  ///< zero points
  bool isStatic = false;      ///< one scale of the input, of calibration
  bool isShifted = false;     ///< zero points of the input, for each token
  Scale scale = Scale::F16;

  bool isWide() const { return bits == 0; }
  /// Products of bytes by bytes with scales in the epilogue.
  bool isByteProduct() const {
    return bits == 8 && inputBits == 8 && group == 0;
  }
  /// Stored bits a weight takes, its scales and zero points included.
  double storedBits(int64_t depth) const;
  /// In the grammar of the option, with what is not default.
  std::string str() const;
  /// One format of the grammar, or why it is none.
  static llvm::Expected<QuantFormat> parse(llvm::StringRef text);

  bool operator==(const QuantFormat &other) const {
    return str() == other.str();
  }
};

enum class QuantMethod { Nearest, GPTQ, AWQ, SmoothQuant, Rotate };

mlir::StringRef methodName(QuantMethod method);
std::optional<QuantMethod> parseMethod(llvm::StringRef name);
/// Whether a method has nothing to go by without data.
bool needsData(QuantMethod method);

/// A format for all, and others for weights whose names match.
struct QuantSpec {
  struct Override {
    std::string glob;
    QuantFormat format; ///< may be wide
  };
  QuantFormat base;
  std::vector<Override> overrides; ///< of several that match the last holds
  /// Attentions whose scores are of bytes (`qk8`); "*" for all.
  std::vector<std::string> byteScores;
  /// Of the tables whose rows a model gathers (`tables=w8`); wide: they stay.
  QuantFormat tables;
  std::optional<QuantMethod> method;
  /// Whether it says anything of weights.
  bool hasWeights() const {
    return !base.isWide() || !overrides.empty() || !tables.isWide();
  }

  /// `w4g32,lm_head=w8pc,layers.*.down_proj=wide,gptq`, `w8a8,qk8`,
  /// `w4g32,tables=w8`.
  static llvm::Expected<QuantSpec> parse(llvm::StringRef text);
};

/// The sixteen numbers of the code book NF4 (QLoRA): quantiles of a normal
/// distribution, 0 and both ends among them.
llvm::ArrayRef<float> normalFloats();

/// Whether `glob` is some whole words of `name`: before and after lies an end
/// or what is neither letter nor digit. `*` stands for any text, `?` for one
/// character.
bool matchesName(llvm::StringRef glob, llvm::StringRef name);

} // namespace ferrite
#endif // FERRITE_PASSES_QUANTIZATION_SPEC_H
