//===- CudaKernel.cpp - The text of one CUDA kernel -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CUDA/CudaKernel.h"

#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cuda;

std::string cuda::storageName(Type type) {
  if (type.isF32())
    return "float";
  if (type.isF64())
    return "double";
  if (type.isF16())
    return "ferrite::f16";
  if (type.isBF16())
    return "ferrite::bf16";
  if (type.isInteger(1))
    return "ferrite::bool8";
  if (auto integer = dyn_cast<IntegerType>(type))
    switch (integer.getWidth()) {
    case 8:
      return integer.isUnsigned() ? "ferrite::u8" : "ferrite::i8";
    case 16:
      return integer.isUnsigned() ? "ferrite::u16" : "ferrite::i16";
    case 32:
      return integer.isUnsigned() ? "ferrite::u32" : "int";
    case 64:
      return integer.isUnsigned() ? "ferrite::u64" : "i64";
    }
  return "";
}

std::string cuda::valueName(Type type) {
  if (type.isF32() || type.isF16() || type.isBF16())
    return "float";
  if (type.isF64())
    return "double";
  if (type.isInteger(1))
    return "bool";
  if (isa<IndexType>(type))
    return "i64";
  if (auto integer = dyn_cast<IntegerType>(type))
    switch (integer.getWidth()) {
    case 8:
      return "ferrite::i8";
    case 16:
      return "ferrite::i16";
    case 32:
      return "int";
    case 64:
      return "i64";
    }
  return "";
}

std::string cuda::indent(StringRef text, unsigned levels) {
  std::string result, space(2 * levels, ' ');
  while (!text.empty()) {
    auto [line, rest] = text.split('\n');
    result += line.empty() ? "\n" : space + line.str() + "\n";
    text = rest;
  }
  return result;
}

std::string KernelText::dim(unsigned i, unsigned d) const {
  if (!args.dim(i, d))
    return std::to_string(operand(i).shape[d]);
  return "n" + std::to_string(i) + "_" + std::to_string(d);
}

std::string KernelText::stride(unsigned i, unsigned d) const {
  if (!args.stride(i, d))
    return std::to_string(operand(i).strides[d]);
  return "s" + std::to_string(i) + "_" + std::to_string(d);
}

std::string KernelText::strides(unsigned i) const {
  std::vector<std::string> all;
  for (unsigned d = 0; d < operand(i).strides.size(); ++d)
    all.push_back(stride(i, d));
  return "{" + llvm::join(all, ", ") + "}";
}

std::string KernelText::dims(unsigned i) const {
  std::vector<std::string> all;
  for (unsigned d = 0; d < operand(i).shape.size(); ++d)
    all.push_back(dim(i, d));
  return "{" + llvm::join(all, ", ") + "}";
}

std::string KernelText::offset(unsigned i, ArrayRef<std::string> index) const {
  std::string sum;
  for (auto [d, at] : llvm::enumerate(index)) {
    std::string step = stride(i, d);
    if (step == "0" || at == "0")
      continue;
    sum += (sum.empty() ? "" : " + ") + (step == "1" ? at : at + " * " + step);
  }
  return sum.empty() ? "0" : sum;
}

GridStep KernelText::sizeStep(unsigned i, unsigned d) const {
  if (std::optional<unsigned> argument = args.dim(i, d))
    return {GridStep::Size, *argument};
  return {GridStep::Factor, operand(i).shape[d]};
}

/// Whether `text` names `word`, as a whole.
static bool mentions(StringRef text, StringRef word) {
  auto isWord = [](char c) { return llvm::isAlnum(c) || c == '_'; };
  for (size_t at = text.find(word); at != StringRef::npos;
       at = text.find(word, at + 1)) {
    size_t end = at + word.size();
    if ((at == 0 || !isWord(text[at - 1])) &&
        (end == text.size() || !isWord(text[end])))
      return true;
  }
  return false;
}

/// `text` without the constants that nothing in it names. An emitter states
/// what each kind of kernel may need, one constant a line.
static std::string dropUnused(std::string text) {
  for (bool dropped = true; dropped;) {
    dropped = false;
    std::string kept;
    StringRef rest = text;
    while (!rest.empty()) {
      auto [line, next] = rest.split('\n');
      rest = next;
      StringRef code = line.ltrim();
      StringRef before = code.take_until([](char c) { return c == '='; });
      bool isConstant =
          (code.starts_with("const ") || code.starts_with("constexpr ")) &&
          code.ends_with(";") && before.size() < code.size();
      StringRef name = before.rtrim().rsplit(' ').second.ltrim("*&");
      std::string others = kept + rest.str();
      if (isConstant && !name.empty() && !mentions(others, name)) {
        dropped = true;
        continue;
      }
      kept += line.str() + "\n";
    }
    text = std::move(kept);
  }
  return text;
}

void KernelText::define(CudaVariant variant, StringRef written) {
  const std::string used = dropUnused(written.str());
  StringRef body = used;
  std::string head;
  auto declare = [&](const std::string &type, const std::string &name,
                     const std::string &value) {
    if (mentions(body, name))
      head += type + " " + name + " = " + value + ";\n";
  };
  for (unsigned i = 0; i < operands(); ++i) {
    std::string type = storage(i) + " *";
    if (i != result())
      type = "const " + type;
    std::string alias = operand(i).mayAlias ? "const" : "__restrict__ const";
    declare(type + alias, ptr(i),
            "(" + type + ")p.a[" + std::to_string(args.pointer(i)) + "].ptr");
  }
  for (unsigned i = 0; i < operands(); ++i)
    for (unsigned d = 0; d < operand(i).shape.size(); ++d)
      if (std::optional<unsigned> place = args.dim(i, d))
        declare("const i64", dim(i, d),
                "p.a[" + std::to_string(*place) + "].size");
  for (unsigned i = 0; i < operands(); ++i)
    for (unsigned d = 0; d < operand(i).strides.size(); ++d)
      if (std::optional<unsigned> place = args.stride(i, d))
        declare("const i64", stride(i, d),
                "p.a[" + std::to_string(*place) + "].size");
  kernel.text += "FERRITE_KERNEL(" + variant.symbol + ", " +
                 std::to_string(variant.threads) + ", " +
                 std::to_string(args.size()) + ", " +
                 std::to_string(variant.maps.size()) + ") {\n" +
                 indent(head + body.str()) + "}\n\n";
  kernel.variants.push_back(std::move(variant));
}
