//===- KernelBench.cpp - How near the linear kernels are to the peak ------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//   ferrite-kernel-bench [--level=NAME] [--type=f32|f16|bf16|i8] [--f32-input]
//                        [--epilogue] [--strip=16|32 [--kept=PERCENT]] [KxN
//                        ...]
//
// Prints, for each K x N and for several M, the speed of the linear kernel on
// one core in percent of the peak of its
// instruction, which is measured right before and after
// each figure, because machines and their neighbours change within seconds. x
// and the result have the type of the weights; bf16 is measured against bf16
// dots at a level that uses them. With --strip the weights, f32 or i8, lack
// blocks of zeros (lib/Support/SparsePanels.h), and what is counted are the
// products of the others.
//
//===----------------------------------------------------------------------===//
#include "lib/Support/PanelLayout.h"
#include "lib/Support/SparsePanels.h"
#include "passes/Codegen/CPU/EmitLinear.h"
#include "tools/dev/bench/KernelTime.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/StringExtras.h"

#include <cstdio>
#include <cstring>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

/// sum * scale of the column, of bytes.
static std::unique_ptr<mlir::Block> makeScale(cpu::KernelBuilder &kb) {
  auto block = std::make_unique<mlir::Block>();
  mlir::OpBuilder builder(kb.getContext());
  mlir::Location loc = kb.getLoc();
  mlir::Value acc = block->addArgument(kb.getI32Type(), loc);
  mlir::Value scale = block->addArgument(kb.f32(), loc);
  builder.setInsertionPointToEnd(block.get());
  acc = mlir::arith::SIToFPOp::create(builder, loc, kb.f32(), acc);
  acc = mlir::arith::MulFOp::create(builder, loc, acc, scale);
  mlir::LLVM::ReturnOp::create(builder, loc, acc);
  return block;
}

/// x + bias, through tanh-free GELU shapes only when asked: the body of a test
/// epilogue, made in the kernel's context.
static std::unique_ptr<mlir::Block> makeGelu(cpu::KernelBuilder &kb) {
  auto block = std::make_unique<mlir::Block>();
  mlir::OpBuilder builder(kb.getContext());
  mlir::Location loc = kb.getLoc();
  mlir::Value acc = block->addArgument(kb.f32(), loc);
  mlir::Value bias = block->addArgument(kb.f32(), loc);
  builder.setInsertionPointToEnd(block.get());
  auto constant = [&](float v) -> mlir::Value {
    return mlir::arith::ConstantOp::create(builder, loc,
                                           builder.getF32FloatAttr(v));
  };
  mlir::Value x = mlir::arith::AddFOp::create(builder, loc, acc, bias);
  mlir::Value e = mlir::math::ErfOp::create(
      builder, loc,
      mlir::arith::MulFOp::create(builder, loc, x, constant(0.70710678f)));
  mlir::Value y = mlir::arith::MulFOp::create(
      builder, loc,
      mlir::arith::MulFOp::create(builder, loc, x, constant(0.5f)),
      mlir::arith::AddFOp::create(builder, loc, e, constant(1.0f)));
  mlir::LLVM::ReturnOp::create(builder, loc, y);
  return block;
}

static mlir::Type typeOf(mlir::MLIRContext &context, llvm::StringRef name) {
  mlir::Builder builder(&context);
  return name == "i8"     ? mlir::Type(builder.getI8Type())
         : name == "u8"   ? mlir::Type(builder.getIntegerType(8, false))
         : name == "f16"  ? mlir::Type(builder.getF16Type())
         : name == "bf16" ? mlir::Type(builder.getBF16Type())
                          : mlir::Type(builder.getF32Type());
}

static void put(char *to, size_t i, float value, llvm::StringRef type) {
  uint16_t narrow = type == "f16" ? toF16(value) : toBF16(value);
  if (type == "f32")
    std::memcpy(to + i * 4, &value, 4);
  else
    std::memcpy(to + i * 2, &narrow, 2);
}

/// How many columns a strip has, and the share of its blocks that are kept.
struct Strips {
  int64_t columns = 0;
  double kept = 0.5;
};

/// Random blocks of dense panels' numbers.
static char *makeStrips(const SparsePanels &all, double share,
                        const char *numbers, int64_t &kept) {
  SparsePanels panels = all;
  std::vector<float> draws =
      randomFloats(all.strips() * all.blocksOfStrip(), 9);
  auto isKept = [&](size_t i) { return draws[i] * 0.5 + 0.5 < share; };
  for (size_t i = 0; i < draws.size(); ++i)
    panels.kept += isKept(i);
  kept = panels.kept;
  char *out = static_cast<char *>(
      std::aligned_alloc(4096, (panels.bytes() + 4095) / 4096 * 4096));
  std::memset(out, 0, panels.bytes());
  SparsePanelWriter writer(panels, out);
  int64_t rowBytes = panels.blockBytes() / panels.blockDepth;
  std::vector<char> strip(panels.depth * rowBytes);
  for (int64_t s = 0; s < panels.strips(); ++s) {
    for (int64_t b = 0; b < panels.blocksOfStrip(); ++b)
      for (int64_t k = 0; k < panels.blockDepth; ++k) {
        char *to = &strip[(b * panels.blockDepth + k) * rowBytes];
        if (isKept(s * panels.blocksOfStrip() + b))
          std::memcpy(to, numbers + (to - strip.data()), rowBytes);
        else
          std::memset(to, 0, rowBytes);
      }
    writer.add(strip.data(), panels.stripColumns);
  }
  return out;
}

static void bench(llvm::StringRef level, llvm::StringRef type,
                  llvm::StringRef input, bool epilogue, const Strips &strips,
                  int64_t depth, int64_t columns) {
  constexpr int64_t any = ShapedType::kDynamic;
  const cpu::CpuLevel &row = *cpu::findCpuLevel(level);
  unsigned lanes = row.lanes;
  bool dots =
      type == "bf16" && input == type && row.has(cpu::Instruction::DotBF16);
  bool isBytes = type == "i8";
  bool fours = row.byteDot() == cpu::ByteDot::Fours;
  auto measurePeak = [&] {
    return isBytes ? bytePeak(lanes, fours) : peak(lanes, dots);
  };
  // Sums of bytes mean nothing without their scale.
  epilogue |= isBytes;
  KernelJit jit(
      level,
      [&](mlir::MLIRContext &context) {
        mlir::Type f32 = typeOf(context, "f32"), weight = typeOf(context, type);
        cpu::KernelLayout layout;
        mlir::Type x = isBytes ? f32 : typeOf(context, input);
        layout.operands = {
            contiguous(isBytes ? typeOf(context, "u8") : x, {any, depth}),
            contiguous(weight, {1})};
        if (epilogue)
          layout.operands.push_back(strided(f32, {any, columns}, {0, 1}));
        layout.operands.push_back(contiguous(x, {any, columns}));
        return layout;
      },
      [&](cpu::KernelBuilder &kb) {
        auto body = isBytes ? makeScale(kb) : epilogue ? makeGelu(kb) : nullptr;
        return emitLinear(kb, {depth, columns, typeOf(*kb.getContext(), type),
                               body.get(), /*hasZero=*/false, strips.columns});
      });
  if (!jit.ok()) {
    std::fprintf(stderr, "%s\n", jit.error().c_str());
    std::exit(1);
  }
  std::printf("%-11s %-4s %5ld x %-5ld", level.str().c_str(),
              type.str().c_str(), long(depth), long(columns));
  PanelLayout packed{depth, columns, isBytes ? 4 : type == "bf16" ? 2 : 1};
  unsigned bytes = isBytes ? 1 : type == "f32" ? 4 : 2;
  unsigned inputBytes = isBytes ? 1 : input == "f32" ? 4 : 2;
  std::vector<float> values = randomFloats(packed.elements(), 1);
  char *weights = static_cast<char *>(std::aligned_alloc(
      4096, (packed.elements() * bytes + 4095) / 4096 * 4096));
  for (int64_t i = 0; i < packed.elements(); ++i) {
    if (isBytes)
      weights[i] = static_cast<char>(values[i] * 127);
    else
      put(weights, i, values[i], type);
  }
  double share = 1;
  if (strips.columns > 0) {
    SparsePanels panels{depth, columns, strips.columns, isBytes ? 4 : 1};
    int64_t kept = 0;
    char *sparse = makeStrips(panels, strips.kept, weights, kept);
    share = double(kept) / double(panels.strips() * panels.blocksOfStrip());
    std::free(std::exchange(weights, sparse));
  }
  std::vector<float> bias = randomFloats(columns, 5);
  for (int64_t rows : {1, 16, 128, 384, 4096}) {
    std::vector<char> x(rows * depth * inputBytes);
    std::vector<float> xs = randomFloats(rows * depth, 2);
    for (size_t i = 0; i < xs.size(); ++i)
      if (isBytes)
        x[i] = static_cast<char>(static_cast<uint8_t>(xs[i] * 127 + 128));
      else
        put(x.data(), i, xs[i], input);
    std::vector<float> y(rows * columns);
    std::vector<JitTensor> tensors{{x.data(), {rows, depth}}, {weights, {1}}};
    if (epilogue)
      tensors.push_back({bias.data(), {rows, columns}, {0, 1}});
    tensors.push_back({y.data(), {rows, columns}});
    std::vector<FerriteArg> args = jit.arguments(tensors);
    double flops = 2.0 * rows * depth * columns * share;
    double top = measurePeak(), seconds = timeKernel(jit, args, 0.15);
    top = std::max(top, measurePeak());
    if (rows == 1)
      std::printf("  M=1 %5.1f GB/s",
                  packed.elements() * bytes * share / seconds / 1e9);
    else
      std::printf("  M=%ld %5.1f%%", long(rows), 100 * flops / seconds / top);
  }
  std::printf("   (peak %.0f GFLOP/s, %zu KB code, %.0f ms to compile)\n",
              measurePeak() / 1e9, jit.objectBytes() / 1024,
              jit.compileSeconds() * 1e3);
  std::fflush(stdout);
  std::free(weights);
}

int main(int argc, char **argv) {
  std::vector<std::string> levels;
  llvm::StringRef type = "f32";
  bool epilogue = false, f32Input = false;
  Strips strips;
  int64_t percent = 50;
  std::vector<std::pair<int64_t, int64_t>> shapes;
  for (int i = 1; i < argc; ++i) {
    llvm::StringRef argument = argv[i];
    if (argument.consume_front("--level="))
      levels = {argument.str()};
    else if (argument.consume_front("--type="))
      type = argument;
    else if (argument.consume_front("--strip="))
      argument.getAsInteger(10, strips.columns);
    else if (argument.consume_front("--kept="))
      argument.getAsInteger(10, percent);
    else if (argument == "--f32-input")
      f32Input = true;
    else if (argument == "--epilogue")
      epilogue = true;
    else if (!readShape(argument, shapes)) {
      std::fprintf(stderr, "unknown argument '%s'\n", argv[i]);
      return 2;
    }
  }
  strips.kept = double(percent) / 100;
  if (shapes.empty())
    shapes = {{384, 1152}, {384, 384}, {384, 1536}, {1536, 384},
              {768, 2304}, {768, 768}, {768, 3072}, {3072, 768}};
  if (levels.empty())
    levels = type == "i8" || type == "bf16" ? hostDotLevels() : hostLevels();
  for (const std::string &level : levels)
    for (auto [depth, columns] : shapes)
      bench(level, type, f32Input ? "f32" : type, epilogue, strips, depth,
            columns);
  return 0;
}
