//===- FusedCase.cpp - Fused kernels against loops in double --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "test/unit/codegen/FusedCase.h"

#include "dialects/Ferrite/IR/Ferrite.h"

#include "mlir/AsmParser/AsmParser.h"
#include "mlir/Parser/Parser.h"

#include <cmath>
#include <cstring>
#include <map>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;

Type ferrite::test::elementType(MLIRContext &context, StringRef name) {
  if (name == "bool")
    return IntegerType::get(&context, 1);
  if (name == "u8")
    return IntegerType::get(&context, 8, IntegerType::Unsigned);
  return parseType(name, &context);
}

static unsigned widthOf(StringRef type) {
  if (type == "bool" || type == "i8" || type == "u8")
    return 1;
  if (type == "f16" || type == "bf16")
    return 2;
  return type == "f32" || type == "i32" ? 4 : 8;
}

Elements::Elements(StringRef type, size_t count)
    : type(type), count(count), width(widthOf(type)), bytes(count * width) {}

template <typename T>
static T as(const uint8_t *p) {
  T v;
  std::memcpy(&v, p, sizeof(T));
  return v;
}

double Elements::get(size_t i) const {
  const uint8_t *p = &bytes.at(i * width);
  if (type == "f32")
    return as<float>(p);
  if (type == "f64")
    return as<double>(p);
  if (type == "f16")
    return fromF16(as<uint16_t>(p));
  if (type == "bf16")
    return fromBF16(as<uint16_t>(p));
  if (type == "i64")
    return as<int64_t>(p);
  if (type == "i32")
    return as<int32_t>(p);
  return type == "i8" ? as<int8_t>(p) : *p;
}

void Elements::set(size_t i, double value) {
  uint8_t *p = &bytes.at(i * width);
  auto put = [&](auto v) { std::memcpy(p, &v, sizeof(v)); };
  if (type == "f32")
    put(float(value));
  else if (type == "f64")
    put(value);
  else if (type == "f16")
    put(toF16(value));
  else if (type == "bf16")
    put(toBF16(value));
  else if (type == "i64")
    put(int64_t(value));
  else if (type == "i32")
    put(int32_t(value));
  else
    put(uint8_t(int64_t(value)));
}

void Elements::fill(uint32_t seed) {
  std::vector<float> values = randomFloats(count, seed);
  for (size_t i = 0; i < count; ++i) {
    double v = values[i];
    if (type == "bool")
      v = v > 0.25;
    else if (type == "u8")
      v = std::floor(v * 8) + 8;
    else if (type[0] == 'i')
      v = std::floor(v * 8);
    else
      v *= 2;
    set(i, v);
  }
}

ParsedBlock ferrite::test::parseBlock(MLIRContext &context, StringRef text) {
  context.allowUnregisteredDialects();
  context.getOrLoadDialect<FerriteDialect>();
  ParsedBlock parsed;
  std::string whole = "\"test.region\"() ({\n" + text.str() + "\n}) : () -> ()";
  parsed.module = parseSourceString<ModuleOp>(whole, &context);
  if (parsed.module)
    parsed.block = &parsed.module->getBody()->front().getRegion(0).front();
  return parsed;
}

namespace {
/// Where an operand's elements lie for given sizes.
struct Placement {
  std::vector<int64_t> shape, strides;
  int64_t elements = 1, first = 0;
  Placement(const CaseOperand &operand, const std::vector<int64_t> &sizes)
      : shape(sizes.size(), 1), strides(sizes.size(), 0) {
    int64_t stride = operand.step, extent = 1;
    for (size_t i = operand.order.size(); i-- > 0;) {
      unsigned d = operand.order[i];
      shape[d] = sizes[d];
      strides[d] = stride;
      extent += (sizes[d] - 1) * std::abs(stride);
      if (stride < 0)
        first += (1 - sizes[d]) * stride;
      stride *= sizes[d];
      if (i + 1 == operand.order.size())
        stride = std::abs(stride) + operand.gap;
    }
    for (int64_t size : shape)
      extent = size ? extent : 0;
    elements = extent;
  }
  int64_t offset(const std::vector<int64_t> &at) const {
    int64_t offset = first;
    for (size_t d = 0; d < at.size(); ++d)
      offset += at[d] * strides[d];
    return offset;
  }
};

class Runner {
public:
  explicit Runner(const FusedCase &c) : c(c) {
    operands = c.inputs;
    operands.insert(operands.end(), c.results.begin(), c.results.end());
  }
  void run(const KernelJit &jit, const std::vector<int64_t> &sizes) const;
  KernelLayout layout(MLIRContext &context, bool dynamic) const;

private:
  std::vector<Elements> expected(const std::vector<Elements> &inputs,
                                 const std::vector<int64_t> &sizes,
                                 std::vector<Elements> results) const;
  /// Each unit alone writes its own elements, and together they write all.
  void expectDisjointUnits(const KernelJit &jit,
                           const std::vector<JitTensor> &tensors,
                           std::vector<Elements> &memory) const;
  const FusedCase &c;
  std::vector<CaseOperand> operands;
  mutable std::map<std::vector<int64_t>, int64_t> lowestUnits;
};
} // namespace

KernelLayout Runner::layout(MLIRContext &context, bool dynamic) const {
  KernelLayout layout;
  for (const CaseOperand &operand : operands) {
    Placement placement(operand, c.sizes);
    OperandLayout o;
    o.elementType = elementType(context, operand.type);
    o.shape.assign(placement.shape.begin(), placement.shape.end());
    o.strides.assign(placement.strides.begin(), placement.strides.end());
    if (dynamic)
      for (size_t i = 0; i < operand.order.size(); ++i) {
        unsigned d = operand.order[i];
        o.shape[d] = ShapedType::kDynamic;
        if (i + 1 < operand.order.size())
          o.strides[d] = ShapedType::kDynamic;
      }
    layout.operands.push_back(o);
  }
  return layout;
}

static double identity(Combine kind) {
  switch (kind) {
  case Combine::Sum:
    return 0;
  case Combine::Prod:
    return 1;
  case Combine::Max:
    return -INFINITY;
  case Combine::Min:
    return INFINITY;
  case Combine::MaxUnsigned:
    return 0;
  case Combine::MinUnsigned:
    return 255;
  }
  return 0;
}

static double combine(Combine kind, double a, double b) {
  if (kind == Combine::Sum)
    return a + b;
  if (kind == Combine::Prod)
    return a * b;
  if (std::isnan(a) || std::isnan(b))
    return NAN;
  bool max = kind == Combine::Max || kind == Combine::MaxUnsigned;
  return max ? std::max(a, b) : std::min(a, b);
}

/// Steps `at` through the loops for which `chosen` holds; false at the end.
static bool advance(std::vector<int64_t> &at, const std::vector<int64_t> &sizes,
                    const std::vector<bool> &reduction, bool chosen) {
  for (size_t d = at.size(); d-- > 0;) {
    if (reduction[d] != chosen)
      continue;
    if (++at[d] < sizes[d])
      return true;
    at[d] = 0;
  }
  return false;
}

std::vector<Elements> Runner::expected(const std::vector<Elements> &inputs,
                                       const std::vector<int64_t> &sizes,
                                       std::vector<Elements> results) const {
  std::vector<int64_t> at(sizes.size(), 0);
  bool noPoints = false, noSums = false;
  for (size_t d = 0; d < sizes.size(); ++d)
    (c.reduction[d] ? noSums : noPoints) |= sizes[d] == 0;
  if (noPoints)
    return results;
  auto read = [&] {
    Point values;
    for (size_t i = 0; i < inputs.size(); ++i)
      values.push_back(inputs[i].get(Placement(operands[i], sizes).offset(at)));
    return values;
  };
  do {
    Point combined;
    Point here = noSums ? Point() : read();
    if (c.combines.empty()) {
      combined = c.point(here, at);
    } else {
      for (Combine kind : c.combines)
        combined.push_back(identity(kind));
      if (!noSums)
        do {
          Point values = c.point(read(), at);
          for (size_t i = 0; i < values.size(); ++i)
            combined[i] = combine(c.combines[i], combined[i], values[i]);
        } while (advance(at, sizes, c.reduction, true));
    }
    if (c.end)
      combined = c.end(combined, here);
    for (size_t i = 0; i < results.size(); ++i)
      results[i].set(Placement(c.results[i], sizes).offset(at), combined.at(i));
  } while (advance(at, sizes, c.reduction, false));
  return results;
}

void Runner::run(const KernelJit &jit,
                 const std::vector<int64_t> &sizes) const {
  std::vector<Elements> memory;
  std::vector<JitTensor> tensors;
  for (size_t i = 0; i < operands.size(); ++i) {
    Placement placement(operands[i], sizes);
    // A margin behind shows writes beyond the end.
    size_t margin = i < c.inputs.size() ? 0 : 40;
    memory.emplace_back(operands[i].type, placement.elements + margin);
    memory.back().fill(17 * i + sizes.back());
  }
  for (size_t i = 0; i < operands.size(); ++i) {
    Placement placement(operands[i], sizes);
    auto *base = static_cast<uint8_t *>(memory[i].data()) +
                 placement.first * widthOf(operands[i].type);
    tensors.emplace_back(base, placement.shape, placement.strides);
  }
  std::vector<Elements> before(memory.begin() + c.inputs.size(), memory.end());
  std::vector<Elements> inputs(memory.begin(),
                               memory.begin() + c.inputs.size());
  std::vector<Elements> wanted = expected(inputs, sizes, before);
  jit.run(tensors);
  std::vector<Elements> got(memory.begin() + c.inputs.size(), memory.end());
  for (size_t r = 0; r < got.size(); ++r)
    for (size_t i = 0; i < got[r].size(); ++i) {
      double g = got[r].get(i), w = wanted[r].get(i);
      bool same = g == w || (std::isnan(g) && std::isnan(w)) ||
                  std::abs(g - w) <= c.tolerance * (1 + std::abs(w));
      if (same)
        continue;
      std::string shape;
      for (int64_t size : sizes)
        shape += std::to_string(size) + " ";
      ADD_FAILURE() << "sizes " << shape << "result " << r << " element " << i
                    << ": got " << g << ", expected " << w;
      return;
    }
  int64_t units = jit.units(tensors);
  // The lowest level, which comes first, counts the units of all.
  EXPECT_LE(units, lowestUnits.try_emplace(sizes, units).first->second);
  if (units > 1 && units <= 40)
    expectDisjointUnits(jit, tensors, memory);
  for (int64_t pieces : {int64_t(2), units}) {
    if (pieces < 2 || pieces > units)
      continue;
    for (size_t r = 0; r < before.size(); ++r)
      std::memcpy(memory[c.inputs.size() + r].data(), before[r].data(),
                  before[r].size() * widthOf(c.results[r].type));
    jit.runSplit(tensors, pieces);
    for (size_t r = 0; r < before.size(); ++r)
      EXPECT_TRUE(memory[c.inputs.size() + r] == got[r])
          << "other bits in " << pieces << " pieces";
  }
}

void Runner::expectDisjointUnits(const KernelJit &jit,
                                 const std::vector<JitTensor> &tensors,
                                 std::vector<Elements> &memory) const {
  std::vector<FerriteArg> arguments = jit.arguments(tensors);
  std::vector<char> scratch(jit.scratchBytes() + 128);
  for (size_t i = c.inputs.size(); i < operands.size(); ++i) {
    unsigned width = widthOf(operands[i].type);
    Elements &result = memory[i];
    int64_t written = 0, elements = 1;
    for (int64_t size : tensors[i].shape)
      elements *= size;
    for (int64_t unit = 0, units = jit.units(tensors); unit < units; ++unit) {
      // What is the same over two backgrounds was written.
      std::vector<std::vector<uint8_t>> runs;
      for (uint8_t background : {0x55, 0xaa}) {
        std::memset(result.data(), background, result.size() * width);
        jit.function()(arguments.data(), unit, unit + 1, scratch.data() + 64);
        auto *bytes = static_cast<uint8_t *>(result.data());
        runs.emplace_back(bytes, bytes + result.size() * width);
      }
      for (size_t e = 0; e < result.size(); ++e)
        written += std::equal(runs[0].begin() + e * width,
                              runs[0].begin() + (e + 1) * width,
                              runs[1].begin() + e * width);
    }
    EXPECT_EQ(written, elements) << "units write what others write";
  }
}

std::string ferrite::test::check(const FusedCase &given) {
  FusedCase c = given;
  if (c.reduction.empty())
    c.reduction.assign(c.sizes.size(), false);
  std::string assembly;
  Runner runner(c);
  for (const std::string &level : hostLevels())
    for (bool dynamic : {true, false}) {
      KernelJit jit(
          level,
          [&](MLIRContext &context) { return runner.layout(context, dynamic); },
          [&](KernelBuilder &kb) -> LogicalResult {
            ParsedBlock body = parseBlock(*kb.getContext(), c.body), finish;
            if (!c.finish.empty())
              finish = parseBlock(*kb.getContext(), c.finish);
            if (!body.block || (!c.finish.empty() && !finish.block))
              return failure();
            FusedSpec spec;
            SmallVector<bool> reduction(c.reduction.begin(), c.reduction.end());
            spec.loops = inferFusedLoops(kb.layout(), reduction);
            spec.numInputs = c.inputs.size();
            spec.body = body.block;
            spec.finish = finish.block;
            spec.combines.assign(c.combines.begin(), c.combines.end());
            return emitFused(kb, spec);
          },
          /*keepAssembly=*/true);
      SCOPED_TRACE(level + (dynamic ? ", dynamic" : ", static"));
      EXPECT_TRUE(jit.ok()) << jit.error();
      if (!jit.ok())
        return "";
      assembly = jit.assembly();
      // LLVM may see a memset in the results of an empty reduction.
      for (size_t at = 0; (at = assembly.find("\tcall", at)) != assembly.npos;
           ++at) {
        std::string line = assembly.substr(at, assembly.find('\n', at) - at);
        EXPECT_NE(line.find("memset"), line.npos) << line;
      }
      if (!c.maySpill) {
        EXPECT_EQ("", checkInnerLoops(assembly, /*all=*/true));
      }
      runner.run(jit, c.sizes);
      if (dynamic)
        for (const std::vector<int64_t> &sizes : c.moreSizes)
          runner.run(jit, sizes);
    }
  return assembly;
}
