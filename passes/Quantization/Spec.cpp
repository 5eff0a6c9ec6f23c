//===- Spec.cpp - What --quantize asks for --------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Quantization/Spec.h"

#include "passes/Analysis/AttentionScores.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace ferrite;
using llvm::StringRef;
using llvm::Twine;

static constexpr StringRef kFormatGrammar =
    "w<2|3|4|8>[a<4|8>][g<16|32|64|128|256>|pc][nf][-asym][-static|-u8]"
    "[-f16|-bf16|-f32]";

static llvm::Error refuse(const Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

//===--- formats ----------------------------------------------------------===//

double QuantFormat::storedBits(int64_t depth) const {
  double perGroup = scale == Scale::F32 ? 32 : 16;
  if (isAsymmetric)
    perGroup += bits;
  return bits + perGroup / double(group ? group : std::max<int64_t>(depth, 1));
}

/// What is meant where no scale type is named: scales of columns are too few to
/// save bytes on.
static QuantFormat::Scale defaultScale(const QuantFormat &format) {
  return format.group == 0 ? QuantFormat::Scale::F32 : QuantFormat::Scale::F16;
}

std::string QuantFormat::str() const {
  if (isWide())
    return "wide";
  std::string text = "w" + std::to_string(bits);
  if (inputBits)
    text += "a" + std::to_string(inputBits);
  text += group ? "g" + std::to_string(group) : "pc";
  if (isNormalFloat)
    text += "nf";
  if (isAsymmetric)
    text += "-asym";
  if (isStatic)
    text += "-static";
  if (isShifted)
    text += "-u8";
  if (scale != defaultScale(*this))
    text += scale == Scale::F16    ? "-f16"
            : scale == Scale::BF16 ? "-bf16"
                                   : "-f32";
  return text;
}

llvm::Expected<QuantFormat> QuantFormat::parse(StringRef text) {
  QuantFormat format;
  if (text == "wide")
    return format;
  auto bad = [&](const Twine &why) {
    return refuse("'" + text + "' is no format: " + why + "; a format is " +
                  kFormatGrammar);
  };
  llvm::SmallVector<StringRef> parts;
  text.split(parts, '-');
  StringRef rest = parts[0];
  if (!rest.consume_front("w") || rest.consumeInteger(10, format.bits))
    return bad("it does not begin with w and a number of bits");
  if (!llvm::is_contained({2, 3, 4, 8}, format.bits))
    return bad("weights have 2, 3, 4 or 8 bits, not " + Twine(format.bits));
  if (rest.consume_front("a") &&
      (rest.consumeInteger(10, format.inputBits) ||
       (format.inputBits != 4 && format.inputBits != 8)))
    return bad("inputs are rounded to 4 or 8 bits");
  // Scales of few bits pay at this size; of eight, columns are even enough.
  format.group = format.bits == 8 ? 0 : 64;
  if (rest.consume_front("pc"))
    format.group = 0;
  else if (rest.consume_front("g") &&
           (rest.consumeInteger(10, format.group) ||
            !llvm::is_contained({16, 32, 64, 128, 256}, format.group)))
    return bad("a group has 16, 32, 64, 128 or 256 weights");
  format.isNormalFloat = rest.consume_front("nf");
  if (!rest.empty())
    return bad("'" + rest + "' means nothing");
  bool hasScale = false;
  for (StringRef flag : llvm::drop_begin(parts)) {
    if (flag == "asym") {
      format.isAsymmetric = true;
    } else if (flag == "static") {
      format.isStatic = true;
    } else if (flag == "u8") {
      format.isShifted = true;
    } else if (flag == "f16" || flag == "bf16" || flag == "f32") {
      if (hasScale)
        return bad("it has two types of scales");
      hasScale = true;
      format.scale = flag == "f16"    ? Scale::F16
                     : flag == "bf16" ? Scale::BF16
                                      : Scale::F32;
    } else {
      return bad("'-" + flag + "' means nothing");
    }
  }
  if (!hasScale)
    format.scale = defaultScale(format);
  if (format.isNormalFloat && format.bits != 4)
    return bad("the code book nf has 4 bits");
  if (format.isNormalFloat && format.isAsymmetric)
    return bad("a code book has no zero points");
  if (format.inputBits == 4 && format.group == 0)
    return bad("inputs of 4 bits are rounded in groups: give g<size>");
  if (format.isStatic && !format.isByteProduct())
    return bad("only w8a8pc has one scale of its input for all tokens");
  if (format.isShifted && (!format.isByteProduct() || format.isStatic))
    return bad("only w8a8pc, with a scale for each token, has zero points of "
               "its input");
  if (format.isByteProduct() && format.isAsymmetric)
    return bad("products of bytes take weights without zero points");
  return format;
}

llvm::ArrayRef<float> ferrite::normalFloats() {
  static constexpr float table[16] = {
      -1.0f,        -0.69619280f, -0.52507305f, -0.39491749f,
      -0.28444138f, -0.18477343f, -0.09105003f, 0.0f,
      0.07958030f,  0.16093020f,  0.24611230f,  0.33791524f,
      0.44070983f,  0.56261700f,  0.72295684f,  1.0f};
  return table;
}

//===--- methods ----------------------------------------------------------===//

static constexpr std::pair<StringRef, QuantMethod> kMethods[] = {
    {"rtn", QuantMethod::Nearest},
    {"gptq", QuantMethod::GPTQ},
    {"awq", QuantMethod::AWQ},
    {"smoothquant", QuantMethod::SmoothQuant},
    {"rotate", QuantMethod::Rotate}};

StringRef ferrite::methodName(QuantMethod method) {
  for (auto [name, each] : kMethods)
    if (each == method)
      return name;
  llvm_unreachable("all methods have names");
}

std::optional<QuantMethod> ferrite::parseMethod(StringRef name) {
  for (auto [known, method] : kMethods)
    if (known == name)
      return method;
  return std::nullopt;
}

bool ferrite::needsData(QuantMethod method) {
  return method == QuantMethod::GPTQ || method == QuantMethod::AWQ ||
         method == QuantMethod::SmoothQuant;
}

//===--- specs ------------------------------------------------------------===//

llvm::Expected<QuantSpec> QuantSpec::parse(StringRef text) {
  QuantSpec spec;
  llvm::SmallVector<StringRef> items;
  text.split(items, ',');
  bool hasBase = false;
  for (StringRef item : items) {
    item = item.trim();
    if (item.empty())
      return refuse("--quantize='" + text + "' has an empty item");
    if (std::optional<QuantMethod> method = parseMethod(item)) {
      if (spec.method)
        return refuse("--quantize names two methods, " +
                      methodName(*spec.method) + " and " + item);
      spec.method = method;
      continue;
    }
    auto [glob, format] =
        item.contains('=') ? item.rsplit('=') : std::pair(StringRef(), item);
    if (item.contains('=') && glob.trim().empty())
      return refuse("--quantize: '" + item + "' names no weight");
    if (format.trim() == kByteScores) {
      spec.byteScores.push_back(glob.empty() ? "*" : glob.trim().str());
      continue;
    }
    llvm::Expected<QuantFormat> parsed = QuantFormat::parse(format.trim());
    if (!parsed)
      return refuse("--quantize: " + llvm::toString(parsed.takeError()));
    if (glob.trim() == "tables") {
      QuantFormat rows;
      rows.bits = 8;
      rows.scale = QuantFormat::Scale::F32;
      if (!parsed->isWide() && !(*parsed == rows))
        return refuse("--quantize: '" + item +
                      "': tables are w8, a byte and one scale for each row, "
                      "or wide");
      spec.tables = *parsed;
      continue;
    }
    if (!glob.empty()) {
      spec.overrides.push_back({glob.trim().str(), *parsed});
      continue;
    }
    if (hasBase)
      return refuse("--quantize has two formats for all weights, " +
                    spec.base.str() + " and " + item +
                    "; those of one layer are written NAME=FORMAT");
    spec.base = *parsed;
    hasBase = true;
  }
  if (!hasBase && spec.overrides.empty() && spec.byteScores.empty() &&
      spec.tables.isWide())
    return refuse("--quantize='" + text + "' has no format");
  if (spec.method && !hasBase && spec.overrides.empty())
    return refuse("--quantize='" + text + "': " + methodName(*spec.method) +
                  " is a method for weights, and no weight has a format");
  return spec;
}

/// `glob` at the beginning of `text`, followed by an end of a word.
static bool matchesHere(StringRef glob, StringRef text) {
  // A text so long as to make this slow is no name; globs are the user's own.
  if (glob.empty())
    return text.empty() || !llvm::isAlnum(text.front());
  if (glob.front() == '*') {
    for (size_t i = 0; i <= text.size(); ++i)
      if (matchesHere(glob.drop_front(), text.drop_front(i)))
        return true;
    return false;
  }
  return !text.empty() &&
         (glob.front() == '?' || glob.front() == text.front()) &&
         matchesHere(glob.drop_front(), text.drop_front());
}

bool ferrite::matchesName(StringRef glob, StringRef name) {
  for (size_t i = 0; i <= name.size(); ++i)
    if ((i == 0 || !llvm::isAlnum(name[i - 1])) &&
        matchesHere(glob, name.drop_front(i)))
      return true;
  return false;
}
