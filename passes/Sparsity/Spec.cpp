//===- Spec.cpp - What --sparsify asks for --------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Sparsity/Spec.h"

#include "passes/Sparsity/WeightSpec.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace ferrite;
using llvm::StringRef;
using llvm::Twine;
using Kind = SparsityItem::Kind;

// Of any number: what is computed with them stays far from overflow.
static constexpr int64_t kMost = int64_t(1) << 24;
static constexpr double kMostNorm = 100;

static llvm::Error refuse(const Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

bool NumberSet::has(int64_t number) const {
  return isAll() || llvm::any_of(ranges, [&](auto range) {
           return range.first <= number && number <= range.second;
         });
}

int64_t NumberSet::largest() const {
  int64_t most = -1;
  for (auto [first, last] : ranges)
    most = std::max(most, last);
  return most;
}

llvm::Expected<NumberSet> NumberSet::parse(StringRef text) {
  NumberSet set;
  llvm::SmallVector<StringRef> parts;
  text.split(parts, '+');
  for (StringRef part : parts) {
    auto [first, last] = part.split('-');
    int64_t from = 0, to = 0;
    if (first.getAsInteger(10, from) || from < 0 ||
        (part.contains('-') ? last.getAsInteger(10, to) : (to = from, false)) ||
        to < from || to > kMost)
      return refuse("'" + text + "' is no set of numbers like 0-3+7");
    set.ranges.push_back({from, to});
  }
  return set;
}

bool SparsityItem::keeps(int64_t r, int64_t c, bool isCausal) const {
  if (isCausal && c > r)
    return false;
  int64_t away = std::abs(r - c);
  auto blocks = [&](int64_t size) { return (size + block - 1) / block; };
  // A window reaches back as far as it is wide, or to both sides half of it.
  auto isNear = [&](int64_t width) {
    return away <= (isCausal ? width - 1 : width / 2);
  };
  switch (kind) {
  case Kind::Blocks:
  case Kind::Window:
  case Kind::Search:
  case Kind::XAttention:
  case Kind::Pooled:
  case Kind::Weights:
  case Kind::Quest:
  case Kind::Merge:
  case Kind::Weigh:
    return true;
  case Kind::BigBird:
    return isNear(window) || r < global || c < global;
  case Kind::Longformer:
    // Tokens, not blocks: the block that the window ends in is kept.
    return away <= blocks(isCausal ? window - 1 : window / 2) ||
           r < blocks(global) || c < blocks(global);
  case Kind::Dilated:
    return away % dilation == 0 && isNear(blocks(window) * dilation);
  case Kind::Strided:
    return isNear(blocks(window)) || away % blocks(stride) == 0;
  }
  llvm_unreachable("all kinds are covered");
}

namespace {
struct Pattern {
  StringRef name;
  Kind kind;
  /// What it needs and what it may have besides layers, heads, block, tokens;
  /// the first is what a number without a name is.
  std::vector<StringRef> needs, may;
};
} // namespace

static llvm::ArrayRef<Pattern> patterns() {
  static const std::vector<Pattern> all = {
      {"window", Kind::Window, {"window"}, {"sinks"}},
      {"bigbird", Kind::BigBird, {"window"}, {"global", "random", "seed"}},
      {"longformer", Kind::Longformer, {"window"}, {"global"}},
      {"dilated", Kind::Dilated, {"window", "dilation"}, {}},
      {"search", Kind::Search, {"mass"}, {}},
      {"quest", Kind::Quest, {"budget"}, {}},
      {"merge", Kind::Merge, {"tokens"}, {"fixed"}},
      {"weigh", Kind::Weigh, {}, {}},
      {"strided", Kind::Strided, {"window", "stride"}, {}},
      {"xattention",
       Kind::XAttention,
       {"threshold"},
       {"stride", "norm", "mass", "density"}},
      {"pooled",
       Kind::Pooled,
       {"threshold"},
       {"stride", "norm", "mass", "density"}},
  };
  return all;
}

/// A share up to `most`, or a number of tokens; false: neither.
static bool readAmount(SparsityItem &item, StringRef value, bool isShare,
                       double most) {
  if (isShare)
    return !value.getAsDouble(item.share) && item.share > 0 &&
           item.share <= most;
  return !value.getAsInteger(10, item.window) && item.window >= 1 &&
         item.window <= kMost;
}

/// A `key=value` of a pattern.
static llvm::Error setPart(SparsityItem &item, StringRef key, StringRef value) {
  if (key == "layers" || key == "heads") {
    llvm::Expected<NumberSet> set = NumberSet::parse(value);
    if (!set)
      return set.takeError();
    (key == "layers" ? item.layers : item.heads) = *set;
    return llvm::Error::success();
  }
  double *share = key == "mass"        ? &item.mass
                  : key == "density"   ? &item.density
                  : key == "threshold" ? &item.threshold
                  : key == "norm"      ? &item.norm
                                       : nullptr;
  if (share) {
    if (share == &item.threshold && value == "auto")
      return llvm::Error::success();
    double most = share == &item.norm ? kMostNorm : 1;
    if (value.getAsDouble(*share) || !(*share > 0 && *share <= most))
      return refuse("'" + key + "' takes a number above 0 up to " +
                    llvm::formatv("{0}", most).str() +
                    (share == &item.threshold ? ", or auto" : "") + ", not '" +
                    value + "'");
    return llvm::Error::success();
  }
  if (item.kind == Kind::Merge && key == "tokens") {
    if (!readAmount(item, value, value.contains('.'), 0.5))
      return refuse("'tokens' takes what each layer merges: a share above 0 up "
                    "to 0.5, like 0.05, or a number, not '" +
                    value + "'");
    return llvm::Error::success();
  }
  if (key == "budget") {
    // A share has a point; 1 is all.
    if (!readAmount(item, value, value.contains('.') || value == "1", 1))
      return refuse("'budget' takes a share above 0 up to 1, like 0.25, or a "
                    "number of tokens, not '" +
                    value + "'");
    return llvm::Error::success();
  }
  int64_t number = 0;
  bool mayBeZero =
      key == "global" || key == "random" || key == "seed" || key == "fixed";
  if (value.getAsInteger(10, number) || number < !mayBeZero || number > kMost)
    return refuse("'" + key + "' takes a number " +
                  (mayBeZero ? "of 0 or more" : "of 1 or more") + ", not '" +
                  value + "'");
  int64_t *place = key == "window"     ? &item.window
                   : key == "global"   ? &item.global
                   : key == "random"   ? &item.random
                   : key == "seed"     ? &item.seed
                   : key == "dilation" ? &item.dilation
                   : key == "stride"   ? &item.stride
                   : key == "sinks"    ? &item.sinks
                   : key == "tokens"   ? &item.tokens
                   : key == "fixed"    ? &item.fixed
                                       : &item.block;
  *place = number;
  return llvm::Error::success();
}

/// What an estimate has by default; or what is wrong.
static std::string finishDynamic(SparsityItem &item,
                                 llvm::ArrayRef<std::string> given) {
  bool isPooled = item.kind == Kind::Pooled;
  if (item.stride == 0)
    item.stride = std::min<int64_t>(isPooled ? item.block : 8, item.block);
  if (item.stride < 2 || !llvm::isPowerOf2_64(item.stride) ||
      item.block % item.stride != 0)
    return "the stride is no power of two from 2 that divides the block, " +
           std::to_string(item.block);
  bool hasBudget =
      llvm::is_contained(given, "mass") || llvm::is_contained(given, "density");
  if (item.threshold > 0 && hasBudget)
    return "'mass' and 'density' are for thresholds by data: auto";
  if (item.mass > 0 && item.density > 0)
    return "it has both 'mass' and 'density'";
  if (item.threshold == 0 && !hasBudget)
    item.mass = 0.95;
  return "";
}

static llvm::Expected<SparsityItem> parseItem(StringRef text) {
  auto bad = [&](const Twine &why) {
    return refuse("--sparsify: '" + text + "': " + why);
  };
  auto [name, rest] = text.split(':');
  SparsityItem item{};
  item.text = text.str();
  if (name == "blocks") {
    item.kind = Kind::Blocks;
    item.file = rest.str();
    if (rest.empty())
      return bad("it names no file");
    return item;
  }
  if (name == "weights") {
    item.kind = Kind::Weights;
    llvm::Expected<PruneItem> prune = PruneItem::parse(rest);
    if (!prune)
      return bad(llvm::toString(prune.takeError()));
    return item;
  }
  const Pattern *pattern =
      llvm::find_if(patterns(), [name = name](const Pattern &each) {
        return each.name == name;
      });
  if (pattern == patterns().end())
    return bad("unknown pattern; known: blocks:FILE, window, bigbird, "
               "longformer, dilated, strided, search, xattention, pooled, "
               "quest, merge, weigh, weights");
  item.kind = pattern->kind;
  llvm::SmallVector<StringRef> parts;
  llvm::SmallVector<std::string> given;
  rest.split(parts, ',', -1, /*KeepEmpty=*/false);
  for (StringRef part : parts) {
    auto [key, value] = part.split('=');
    if (!part.contains('=') && pattern->needs.empty())
      return bad("it takes no '" + part + "'");
    if (!part.contains('='))
      std::tie(key, value) = std::pair(pattern->needs[0], part);
    // What it is called in the paper.
    if (key == "local" && item.kind == Kind::Strided)
      key = "window";
    bool common =
        (key == "layers" && item.kind != Kind::Weigh) ||
        (item.isList() && (key == "heads" || key == "block")) ||
        (key == "tokens" && item.isList() && item.kind != Kind::Search);
    if (!common && !llvm::is_contained(pattern->needs, key) &&
        !llvm::is_contained(pattern->may, key))
      return bad("it has no '" + key + "'");
    if (llvm::is_contained(given, key))
      return bad("'" + key + "' is there twice");
    given.push_back(key.str());
    if (llvm::Error error = setPart(item, key, value))
      return bad(llvm::toString(std::move(error)));
  }
  for (StringRef need : pattern->needs)
    if (!llvm::is_contained(given, need))
      return bad("it needs '" + need + "'");
  if (item.block % 16 != 0 || item.block > 512)
    return bad("a block is a multiple of 16 up to 512");
  if (item.kind == Kind::Strided && item.stride % item.block != 0)
    return bad("the stride is no multiple of the block, " + Twine(item.block));
  if (item.isDynamic())
    if (std::string why = finishDynamic(item, given); !why.empty())
      return bad(why);
  return item;
}

llvm::Expected<std::vector<SparsityItem>>
ferrite::parseSparsity(StringRef text) {
  std::vector<SparsityItem> items;
  llvm::SmallVector<StringRef> parts;
  text.split(parts, ';', -1, /*KeepEmpty=*/false);
  for (StringRef part : parts) {
    llvm::Expected<SparsityItem> item = parseItem(part.trim());
    if (!item)
      return item.takeError();
    items.push_back(std::move(*item));
  }
  if (items.empty())
    return refuse("--sparsify names no pattern");
  return items;
}
