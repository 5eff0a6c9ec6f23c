//===- WeightSpec.cpp - Which weights are to be pruned, and how -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Sparsity/WeightSpec.h"

#include "passes/Sparsity/Spec.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/Twine.h"

using namespace ferrite;
using llvm::StringRef;

static llvm::Error refuse(const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

std::string ZeroShape::str() const {
  return isTwoOfFour ? "2:4"
                     : std::to_string(columns) + "x" + std::to_string(depth);
}

llvm::Expected<ZeroShape> ZeroShape::parse(StringRef text) {
  ZeroShape shape;
  shape.isTwoOfFour = text == "2:4";
  if (shape.isTwoOfFour)
    return shape;
  auto [columns, depth] = text.split('x');
  if (columns.getAsInteger(10, shape.columns) ||
      depth.getAsInteger(10, shape.depth) ||
      !llvm::is_contained({1, 16, 32}, shape.columns) ||
      !llvm::is_contained({1, 4}, shape.depth) ||
      (shape.columns == 1 && shape.depth != 1))
    return refuse("'" + text +
                  "' is none of 32x4, 16x4, 32x1, 16x1, 1x1 and 2:4");
  return shape;
}

StringRef ferrite::methodName(PruneMethod method) {
  switch (method) {
  case PruneMethod::Magnitude:
    return "magnitude";
  case PruneMethod::Wanda:
    return "wanda";
  case PruneMethod::SparseGPT:
    return "sparsegpt";
  }
  llvm_unreachable("all methods are covered");
}

llvm::Expected<PruneItem> PruneItem::parse(StringRef text) {
  PruneItem item;
  llvm::SmallVector<StringRef> parts, given;
  text.split(parts, ',', -1, /*KeepEmpty=*/false);
  for (StringRef part : parts) {
    auto [key, value] = part.split('=');
    if (!part.contains('='))
      std::tie(key, value) = std::pair(StringRef("share"), part);
    if (llvm::is_contained(given, key))
      return refuse("'" + key + "' is there twice");
    given.push_back(key);
    if (key == "share") {
      if (value.getAsDouble(item.share) || !(item.share > 0 && item.share < 1))
        return refuse("the share of zeros is a number above 0 and below 1, "
                      "not '" +
                      value + "'");
    } else if (key == "blocks") {
      llvm::Expected<ZeroShape> shape = ZeroShape::parse(value);
      if (!shape)
        return shape.takeError();
      item.shape = *shape;
    } else if (key == "method") {
      bool isKnown = false;
      for (PruneMethod method :
           {PruneMethod::Magnitude, PruneMethod::Wanda, PruneMethod::SparseGPT})
        if (methodName(method) == value) {
          item.method = method;
          isKnown = true;
        }
      if (!isKnown)
        return refuse("unknown method '" + value +
                      "'; known: magnitude, wanda, sparsegpt");
    } else if (key == "names" && !value.empty()) {
      item.glob = value.str();
    } else {
      return refuse("it has no '" + part + "'");
    }
  }
  if (!llvm::is_contained(given, "share"))
    return refuse("it needs the share of zeros");
  if (item.shape.isTwoOfFour && item.share != 0.5)
    return refuse("2:4 makes a half zero, no other share");
  return item;
}

std::vector<PruneItem>
ferrite::pruneItemsOf(llvm::ArrayRef<SparsityItem> items) {
  std::vector<PruneItem> prune;
  for (const SparsityItem &item : items)
    if (item.kind == SparsityItem::Kind::Weights)
      prune.push_back(llvm::cantFail(
          PruneItem::parse(StringRef(item.text).split(':').second)));
  return prune;
}
