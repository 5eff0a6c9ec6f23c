//===- KernelJit.cpp - Runs one emitted kernel in the test ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "test/unit/codegen/KernelJit.h"

#include "lib/Target/CPU/Compile.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"

#include <chrono>
#include <cmath>
#include <cstring>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::test;

JitTensor::JitTensor(const void *data, std::vector<int64_t> shape,
                     std::vector<int64_t> strides)
    : data(const_cast<void *>(data)), shape(std::move(shape)),
      strides(std::move(strides)) {
  if (!this->strides.empty() || this->shape.empty())
    return;
  this->strides.assign(this->shape.size(), 1);
  for (size_t d = this->shape.size() - 1; d-- > 0;)
    this->strides[d] = this->strides[d + 1] * this->shape[d + 1];
}

KernelJit::KernelJit(llvm::StringRef levelName, const Layout &makeLayout,
                     const Emit &emit, bool keepAssembly)
    : context(MLIRContext::Threading::DISABLED) {
  build(levelName, makeLayout, emit, keepAssembly);
}

void KernelJit::build(llvm::StringRef levelName, const Layout &makeLayout,
                      const Emit &emit, bool keepAssembly) {
  auto fail = [&](const std::string &why) {
    diagnostics += why;
    kernel = nullptr;
  };
  bool imitates = levelName.consume_front("~");
  const cpu::CpuLevel *level = cpu::findCpuLevel(levelName);
  if (!level)
    return fail("no such level");
  if (imitates) {
    imitated = *level;
    imitated.imitates = true;
    imitated.targetFeatures = cpu::findCpuLevel("avx512")->targetFeatures;
    level = &imitated;
  }
  DialectRegistry registry;
  cpu::registerTranslations(registry);
  context.appendDialectRegistry(registry);
  cpu::KernelBuilder::loadDialects(context);
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    diagnostics += diagnostic.str() + "\n";
    return success();
  });

  auto start = std::chrono::steady_clock::now();
  layout = makeLayout(context);
  Location loc = UnknownLoc::get(&context);
  OwningOpRef<ModuleOp> module = ModuleOp::create(loc);
  cpu::KernelBuilder builder(*module, "kernel", layout, *level, loc);
  if (failed(emit(builder)))
    return fail("the emitter failed\n");
  llvm::raw_string_ostream(moduleText) << *module;
  if (failed(verify(*module)))
    return fail("the module does not verify\n" + moduleText);
  scratch = builder.scratchBytes();
  cpu::CompileOptions options;
  options.assembly = keepAssembly;
  FailureOr<cpu::CompiledObject> compiled =
      cpu::compile(*module, *level, options);
  if (failed(compiled))
    return fail("compile failed\n");
  seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  assemblyText = std::move(compiled->assembly);
  objectSize = compiled->object.size();

  llvm::InitializeNativeTarget();
  llvm::InitializeNativeTargetAsmPrinter();
  auto made = llvm::orc::LLJITBuilder().create();
  if (!made)
    return fail(llvm::toString(made.takeError()));
  jit = std::move(*made);
  if (auto error = jit->addObjectFile(llvm::MemoryBuffer::getMemBufferCopy(
          llvm::StringRef(compiled->object.data(), compiled->object.size()),
          "kernel.o")))
    return fail(llvm::toString(std::move(error)));
  auto function = jit->lookup("kernel"), count = jit->lookup("kernel.units");
  if (!function || !count) {
    if (!function)
      fail(llvm::toString(function.takeError()));
    if (!count)
      fail(llvm::toString(count.takeError()));
    return;
  }
  kernel = function->toPtr<FerriteKernelFn>();
  unitsOf = count->toPtr<FerriteUnitsFn>();
}

KernelJit::~KernelJit() = default;

std::vector<FerriteArg>
KernelJit::arguments(const std::vector<JitTensor> &tensors) const {
  cpu::KernelArgs places(layout);
  std::vector<FerriteArg> args(places.size());
  if (tensors.size() != layout.operands.size())
    std::abort();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const cpu::OperandLayout &operand = layout.operands[i];
    args[places.pointer(i)].ptr = tensors[i].data;
    for (size_t d = 0; d < operand.shape.size(); ++d) {
      // A static size that is not what the test passes is the test's mistake.
      if (auto place = places.dim(i, d))
        args[*place].i64 = tensors[i].shape[d];
      else if (operand.shape[d] != tensors[i].shape[d])
        std::abort();
      if (auto place = places.stride(i, d))
        args[*place].i64 = tensors[i].strides[d];
      else if (operand.strides[d] != tensors[i].strides[d] &&
               tensors[i].shape[d] > 1)
        std::abort();
    }
  }
  return args;
}

int64_t KernelJit::units(const std::vector<JitTensor> &tensors) const {
  return unitsOf(arguments(tensors).data());
}

void KernelJit::runSplit(const std::vector<JitTensor> &tensors,
                         int64_t pieces) const {
  std::vector<FerriteArg> args = arguments(tensors);
  int64_t total = unitsOf(args.data());
  constexpr size_t guard = 256, head = 64; // the head: see FerriteKernelFn
  std::unique_ptr<char, decltype(&std::free)> memory(
      static_cast<char *>(
          std::aligned_alloc(64, (head + scratch + guard + 63) / 64 * 64)),
      &std::free);
  char *own = memory.get() + head;
  std::memset(memory.get(), 0, head);
  for (int64_t piece = pieces; piece-- > 0;) {
    int64_t begin = total * piece / pieces, end = total * (piece + 1) / pieces;
    std::memset(own, 0xff, scratch + guard); // NaN as f32 and f16
    kernel(args.data(), begin, end, own);
    for (size_t i = 0; i < guard; ++i)
      if (own[scratch + i] != char(0xff)) {
        llvm::errs() << "the kernel wrote past its scratch\n";
        std::abort();
      }
  }
  std::memcpy(&outside, own - 16, 8);
  hasOutside = own[-8] != 0;
}

static std::vector<std::string> levelsOfHost(bool refined) {
  std::vector<std::string> names;
  for (const cpu::CpuLevel &level : cpu::cpuLevels())
    if (cpu::hostHasLevel(level) && (refined || level.refines.empty()))
      names.push_back(level.name.str());
  return names;
}

std::vector<std::string> ferrite::test::hostLevels() {
  return levelsOfHost(/*refined=*/false);
}

std::vector<std::string> ferrite::test::hostDotLevels() {
  return levelsOfHost(/*refined=*/true);
}

cpu::OperandLayout ferrite::test::contiguous(Type type,
                                             ArrayRef<int64_t> shape) {
  SmallVector<int64_t> strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;)
    strides[d - 1] =
        ShapedType::isDynamic(shape[d]) || ShapedType::isDynamic(strides[d])
            ? ShapedType::kDynamic
            : strides[d] * shape[d];
  return strided(type, shape, strides);
}

cpu::OperandLayout ferrite::test::strided(Type type, ArrayRef<int64_t> shape,
                                          ArrayRef<int64_t> strides) {
  cpu::OperandLayout layout;
  layout.elementType = type;
  layout.shape.assign(shape.begin(), shape.end());
  layout.strides.assign(strides.begin(), strides.end());
  return layout;
}

std::vector<float> ferrite::test::randomFloats(size_t count, uint32_t seed) {
  std::vector<float> values(count);
  uint64_t state = seed * UINT64_C(0x9E3779B97F4A7C15) + 12345;
  for (float &value : values) {
    state =
        state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    value = float(int32_t(state >> 32)) * 0x1p-31f;
  }
  return values;
}

uint16_t ferrite::test::toBF16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if (std::isnan(value))
    return uint16_t(bits >> 16) | 0x40;
  return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float ferrite::test::fromBF16(uint16_t bits) {
  uint32_t wide = uint32_t(bits) << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}

uint16_t ferrite::test::toF16(float value) {
  llvm::APFloat f(value);
  bool lost;
  f.convert(llvm::APFloat::IEEEhalf(), llvm::APFloat::rmNearestTiesToEven,
            &lost);
  return uint16_t(f.bitcastToAPInt().getZExtValue());
}

float ferrite::test::fromF16(uint16_t bits) {
  llvm::APFloat f(llvm::APFloat::IEEEhalf(), llvm::APInt(16, bits));
  bool lost;
  f.convert(llvm::APFloat::IEEEsingle(), llvm::APFloat::rmNearestTiesToEven,
            &lost);
  return f.convertToFloat();
}

/// Calls `body` with the lines of each innermost loop.
static void
forInnerLoops(llvm::StringRef assembly,
              llvm::function_ref<void(llvm::ArrayRef<llvm::StringRef>)> body) {
  // Innermost loops are runs of lines from a label to the first jump back to
  // it, with no other label between that is itself a loop.
  SmallVector<llvm::StringRef> lines;
  assembly.split(lines, '\n');
  llvm::StringMap<size_t> labels;
  size_t innermostBegin = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    llvm::StringRef line = lines[i].split('#').first.trim();
    if (line.ends_with(":")) {
      labels[line.drop_back()] = i;
      continue;
    }
    if (!line.starts_with("j"))
      continue;
    llvm::StringRef to = line.split('\t').second.trim();
    auto found = labels.find(to);
    if (found == labels.end() || found->second < innermostBegin)
      continue;
    innermostBegin = i; // a loop around this one is not innermost
    body(llvm::ArrayRef(lines).slice(found->second, i - found->second));
  }
}

std::string ferrite::test::checkInnerLoops(llvm::StringRef assembly, bool all) {
  std::string problems;
  forInnerLoops(assembly, [&](llvm::ArrayRef<llvm::StringRef> loop) {
    bool multiplies =
        all || llvm::any_of(loop, [](llvm::StringRef line) {
          return line.contains("vfmadd") || line.contains("vdpbf16ps") ||
                 line.contains("vpdpbusd") || line.contains("vpmaddwd");
        });
    for (llvm::StringRef line : loop) {
      llvm::StringRef text = line.split('#').first.trim();
      // A kernel may call its own parts; it must not call a library.
      if (text.starts_with("call") && !text.contains("kernel."))
        problems += ("call in a loop: " + text + "\n").str();
      bool stack = text.contains("(%rsp") || text.contains("(%rbp");
      if (multiplies && stack &&
          (text.contains("%zmm") || text.contains("%ymm")))
        problems += ("vector on the stack in a loop: " + text + "\n").str();
    }
  });
  return problems;
}

std::string
ferrite::test::checkAllLoops(llvm::StringRef assembly,
                             llvm::ArrayRef<llvm::StringRef> wanted) {
  std::string problems = checkInnerLoops(assembly, /*all=*/true);
  for (llvm::StringRef instruction : wanted) {
    bool found = false;
    forInnerLoops(assembly, [&](llvm::ArrayRef<llvm::StringRef> loop) {
      found |= llvm::any_of(loop, [&](llvm::StringRef line) {
        return line.contains(instruction);
      });
    });
    if (!found)
      problems += ("no " + instruction + " in a loop\n").str();
  }
  return problems;
}

std::string ferrite::test::checkTiles(llvm::StringRef assembly,
                                      llvm::StringRef product) {
  std::string problems;
  for (llvm::StringRef wanted :
       {llvm::StringRef("ldtilecfg"), product, llvm::StringRef("tileloadd")})
    if (!assembly.contains(wanted))
      problems += ("no " + wanted + "\n").str();
  SmallVector<llvm::StringRef> lines;
  assembly.split(lines, '\n');
  for (llvm::StringRef line : lines)
    if ((line.contains("tileloadd") || line.contains("tilestored")) &&
        line.contains("rsp"))
      problems += ("tile on the stack: " + line + "\n").str();
  return problems + checkInnerLoops(assembly);
}
