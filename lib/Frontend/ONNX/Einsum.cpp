//===- Einsum.cpp - Sums of products by the names of dims -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// An operand is a tensor with a label for each dim. First each is brought to
// distinct labels that all have their full size: diagonals are taken, dims of
// size 1 that others broadcast are dropped. Then operands join from left to
// right, as matrix products over the labels that nothing after them needs.
// What is left is summed and transposed to the labels of the result.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Elementwise.h"
#include "lib/Frontend/ONNX/IndexTuples.h"
#include <map>

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// A letter, or kEllipsis plus the place from the right of an ellipsis' dim.
using Labels = std::vector<int>;
constexpr int kEllipsis = 256;

struct Term {
  Value value;
  Dims dims;
  Labels labels;
};

/// The labels of one operand as written; -1 stands for "...".
bool parseLabels(StringRef text, Labels &labels) {
  while (!text.empty()) {
    if (text.consume_front("...")) {
      if (llvm::is_contained(labels, -1))
        return false;
      labels.push_back(-1);
      continue;
    }
    if (!llvm::isAlpha(text.front()))
      return false;
    labels.push_back(text.front());
    text = text.drop_front();
  }
  return true;
}

class Einsum {
public:
  explicit Einsum(OpBinder &b) : b(b) {}
  LogicalResult import();

private:
  LogicalResult parse();
  LogicalResult bindSizes();
  void placeEllipsis(Labels &labels, size_t count);
  void takeDiagonals(Term &term);
  void dropOnes(Term &term);
  void sumOut(Term &term, llvm::function_ref<bool(int)> needed);
  void order(Term &term, const Labels &labels);
  Term join(Term left, Term right, llvm::function_ref<bool(int)> needed);
  Dims dimsOf(const Labels &labels);

  OpBinder &b;
  Type element; // of the computation
  std::vector<Term> terms;
  Labels result;
  std::map<int, DimExpr> sizes;
};

} // namespace

/// Of `count` dims; the last of them is the same for every operand.
void Einsum::placeEllipsis(Labels &labels, size_t count) {
  auto found = llvm::find(labels, -1);
  if (found == labels.end())
    return;
  Labels dims;
  for (size_t i = count; i-- > 0;)
    dims.push_back(kEllipsis + static_cast<int>(i));
  found = labels.erase(found);
  labels.insert(found, dims.begin(), dims.end());
}

LogicalResult Einsum::parse() {
  std::string equation = b.stringAttr("equation", "");
  std::string text;
  for (char c : equation)
    if (c != ' ')
      text.push_back(c);
  auto malformed = [&](const Twine &why) {
    return b.error("attribute 'equation' = '" + equation + "' " + why);
  };
  auto [left, right] = StringRef(text).split("->");
  SmallVector<StringRef> operands;
  left.split(operands, ',');
  if (operands.size() != b.numInputs())
    return malformed("does not have a term for each input");
  size_t widest = 0;
  for (auto [i, operand] : llvm::enumerate(operands)) {
    Term &term = terms.emplace_back();
    if (!parseLabels(operand, term.labels))
      return malformed("is malformed");
    size_t rank = b.input(i).rank(), named = term.labels.size();
    bool hasEllipsis = llvm::is_contained(term.labels, -1);
    if (hasEllipsis ? named > rank + 1 : named != rank)
      return malformed("does not name the dims of input " + Twine(i) + ", " +
                       printDims(b.input(i).dims));
    size_t count = rank + 1 - named; // where there is an ellipsis
    widest = hasEllipsis ? std::max(widest, count) : widest;
    placeEllipsis(term.labels, count);
    term.dims = b.input(i).dims;
  }
  if (StringRef(text).contains("->")) {
    if (!parseLabels(right, result))
      return malformed("is malformed");
  } else {
    // All dims of ellipses, then the letters that occur once, in order.
    result.push_back(-1);
    std::map<int, int> uses;
    for (const Term &term : terms)
      for (int label : term.labels)
        uses[label] += label < kEllipsis;
    for (auto [label, count] : uses)
      if (count == 1)
        result.push_back(label);
  }
  placeEllipsis(result, widest);
  Labels sorted = result;
  llvm::sort(sorted);
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    return malformed("names a dim of its result twice");
  for (int label : result)
    if (llvm::none_of(terms, [&](const Term &term) {
          return llvm::is_contained(term.labels, label);
        }))
      return malformed("has a label in its result that no input has");
  return success();
}

/// One size for each label; 1 broadcasts to others.
LogicalResult Einsum::bindSizes() {
  for (const Term &term : terms)
    for (auto [label, dim] : llvm::zip_equal(term.labels, term.dims)) {
      auto [known, isNew] = sizes.try_emplace(label, dim);
      if (isNew)
        continue;
      FailureOr<Dims> both = b.broadcast({known->second}, {dim});
      if (failed(both))
        return failure();
      known->second = both->front();
    }
  return success();
}

Dims Einsum::dimsOf(const Labels &labels) {
  Dims dims;
  for (int label : labels)
    dims.push_back(sizes.at(label));
  return dims;
}

/// Of a label that occurs twice: what is off the diagonal counts as 0, and is
/// summed away.
void Einsum::takeDiagonals(Term &term) {
  for (size_t j = 1; j < term.labels.size(); ++j) {
    size_t i = llvm::find(term.labels, term.labels[j]) - term.labels.begin();
    if (i == j)
      continue;
    size_t rank = term.labels.size();
    Type i64 = b.builder().getI64Type();
    Dims pair(rank, DimExpr(1));
    pair[i] = term.dims[i];
    pair[j] = term.dims[j];
    Value on = b.create<CompareOp>(
        pair, b.builder().getI1Type(), iotaAlong(b, term.dims[i], i, rank, i64),
        iotaAlong(b, term.dims[j], j, rank, i64), Predicate::Eq);
    Value kept = b.create<WhereOp>(term.dims, element, on, term.value,
                                   b.scalar(0, element));
    Dims rest = term.dims;
    rest.erase(rest.begin() + j);
    term.value = b.create<ReduceOp>(rest, element, kept, ReduceKind::Sum,
                                    ArrayRef<int64_t>(static_cast<int64_t>(j)),
                                    /*keepDims=*/false);
    term.dims = rest;
    term.labels.erase(term.labels.begin() + j);
    --j;
  }
}

void Einsum::dropOnes(Term &term) {
  Labels labels;
  for (auto [label, dim] : llvm::zip_equal(term.labels, term.dims))
    if (dim == sizes.at(label))
      labels.push_back(label);
  if (labels.size() == term.labels.size())
    return;
  Dims dims = dimsOf(labels);
  term = {b.view(term.value, dims), dims, labels};
}

/// Sums over the labels that are not needed.
void Einsum::sumOut(Term &term, llvm::function_ref<bool(int)> needed) {
  SmallVector<int64_t> axes;
  Labels labels;
  for (auto [i, label] : llvm::enumerate(term.labels)) {
    if (needed(label))
      labels.push_back(label);
    else
      axes.push_back(static_cast<int64_t>(i));
  }
  if (axes.empty())
    return;
  Dims dims = dimsOf(labels);
  term = {b.create<ReduceOp>(dims, element, term.value, ReduceKind::Sum, axes,
                             /*keepDims=*/false),
          dims, labels};
}

/// Transposes to `labels`, which are the term's in another order.
void Einsum::order(Term &term, const Labels &labels) {
  if (term.labels == labels)
    return;
  SmallVector<int64_t> perm;
  for (int label : labels)
    perm.push_back(llvm::find(term.labels, label) - term.labels.begin());
  term = {b.transpose(term.value, term.dims, perm), dimsOf(labels), labels};
}

Term Einsum::join(Term left, Term right, llvm::function_ref<bool(int)> needed) {
  auto has = [](const Term &term, int label) {
    return llvm::is_contained(term.labels, label);
  };
  sumOut(left, [&](int label) { return has(right, label) || needed(label); });
  sumOut(right, [&](int label) { return has(left, label) || needed(label); });
  Labels batch, rows, inner, columns;
  for (int label : left.labels)
    (!has(right, label) ? rows
     : needed(label)    ? batch
                        : inner)
        .push_back(label);
  for (int label : right.labels)
    if (!has(left, label))
      columns.push_back(label);

  auto concat = [](Labels all, const Labels &more) {
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  Labels joined = concat(concat(batch, rows), columns);
  Dims dims = dimsOf(joined);
  order(left, concat(concat(batch, rows), inner));
  order(right, concat(concat(batch, inner), columns));
  Dims lead = dimsOf(batch);
  if (inner.empty()) {
    // Nothing is summed: factors side by side.
    Dims a = left.dims, c = lead;
    a.append(columns.size(), DimExpr(1));
    c.append(rows.size(), DimExpr(1));
    c.append(right.dims.begin() + batch.size(), right.dims.end());
    return {b.create<MulOp>(dims, element, b.view(left.value, left.dims, a),
                            b.view(right.value, right.dims, c)),
            dims, joined};
  }
  DimExpr depth = product(dimsOf(inner)), width = product(dimsOf(columns));
  // Without a batch the rows stay apart, as in MatMul by a weight.
  bool isFlat = !batch.empty() || rows.empty();
  Dims a = lead, c = lead, out = lead;
  if (isFlat)
    a.push_back(product(dimsOf(rows)));
  else
    llvm::append_range(a, dimsOf(rows));
  out = a;
  a.push_back(depth);
  out.push_back(width);
  c.append({depth, width});
  Value product =
      b.create<MatmulOp>(out, element, b.view(left.value, left.dims, a),
                         b.view(right.value, right.dims, c));
  return {b.view(product, out, dims), dims, joined};
}

LogicalResult Einsum::import() {
  if (b.numInputs() == 0)
    return b.error("it has no inputs");
  if (failed(expectOneType(b, 0, b.numInputs())) || failed(parse()) ||
      failed(bindSizes()))
    return failure();
  // The low bits of narrow integers are those of i32.
  Type given = element = b.input(0).element;
  if (given.isInteger(1))
    return b.error("its inputs are not numbers");
  if (isa<IntegerType>(given) && given.getIntOrFloatBitWidth() < 32)
    element = b.builder().getI32Type();
  for (auto [i, term] : llvm::enumerate(terms)) {
    FailureOr<Value> data = b.data(i);
    if (failed(data))
      return failure();
    term.value = b.cast(*data, term.dims, element);
    takeDiagonals(term);
    dropOnes(term);
  }
  Term joined = terms[0];
  for (size_t i = 1; i < terms.size(); ++i)
    joined = join(std::move(joined), terms[i], [&](int label) {
      return llvm::is_contained(result, label) ||
             llvm::any_of(ArrayRef(terms).drop_front(i + 1),
                          [&](const Term &term) {
                            return llvm::is_contained(term.labels, label);
                          });
    });
  sumOut(joined, [&](int label) { return llvm::is_contained(result, label); });
  order(joined, result);
  return b.setData(b.cast(joined.value, joined.dims, given), joined.dims);
}

static LogicalResult importEinsum(OpBinder &b) { return Einsum(b).import(); }

void registerEinsumOps(OpTable &table) { table.add("Einsum", importEinsum); }

} // namespace ferrite::frontend
