//===- KernelBuilder.h - Makes the functions of one kernel ------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Every CPU emitter writes through this class. A kernel `k` is two functions of
// abi.h:
//
//   i64  @k.units(args)                       work units of a launch
//   void @k(args, begin, end, scratch)        runs units [begin, end)
//
// `@k` only loads its arguments and calls `@k.body`, whose pointers are noalias
// parameters: views of one arena would otherwise be believed to overlap, and
// nothing could stay in registers. An emitter says
//
//   kernel.defineUnits([&] { return kernel.dim(0, 0); });
//   kernel.defineBody([&] { kernel.forUnits([&](Value unit) { ... }); });
//
// and inside both callbacks asks for ptr(), dim() and stride(). Indices are i64
// throughout, loops are scf.for on i64, registers are 1-D vectors, and memory
// is !llvm.ptr: no memref, no index type, no vector wider than a register.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_KERNELBUILDER_H
#define FERRITE_PASSES_CODEGEN_CPU_KERNELBUILDER_H

#include "passes/Codegen/CPU/CpuLevel.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

#include <optional>

namespace ferrite::cpu {

/// How one operand or result of a kernel lies in memory. A size or a stride
/// (in elements) that is ShapedType::kDynamic is passed at run time.
struct OperandLayout {
  mlir::Type elementType;
  llvm::SmallVector<int64_t> shape;
  llvm::SmallVector<int64_t> strides;
  /// Another operand or result may be the same memory (in-place results): its
  /// pointer is then not noalias. It must be the same bytes at each index.
  bool mayAlias = false;
};

struct KernelLayout {
  /// The operands, then the results.
  llvm::SmallVector<OperandLayout> operands;
};

/// The places of a kernel's FerriteArgs: the pointers of all operands; then of
/// each operand each size that is dynamic; then of each operand each stride
/// that is dynamic.
class KernelArgs {
public:
  explicit KernelArgs(const KernelLayout &layout);

  unsigned size() const { return count; }
  unsigned pointer(unsigned operand) const { return operand; }
  /// None when the size is static.
  std::optional<unsigned> dim(unsigned operand, unsigned d) const {
    return dims[operand][d];
  }
  std::optional<unsigned> stride(unsigned operand, unsigned d) const {
    return strides[operand][d];
  }

private:
  using Places = llvm::SmallVector<std::optional<unsigned>>;
  llvm::SmallVector<Places> dims, strides;
  unsigned count = 0;
};

class KernelBuilder : public mlir::ImplicitLocOpBuilder {
public:
  using Value = mlir::Value;
  using ValueRange = mlir::ValueRange;
  using Type = mlir::Type;

  /// Adds functions to the end of `module`, which gets the triple and the data
  /// layout of the level's machine if it has none.
  KernelBuilder(mlir::ModuleOp module, llvm::StringRef symbol,
                const KernelLayout &layout, const CpuLevel &level,
                mlir::Location loc);

  /// The dialects that the built code is of; load them before building.
  static void registerDialects(mlir::DialectRegistry &registry);
  static void loadDialects(mlir::MLIRContext &context);

  void defineUnits(llvm::function_ref<Value()> body);
  void defineBody(llvm::function_ref<void()> body);

  /// Calls the function @k.<name> of this kernel, which `body` defines the
  /// first time. It sees nothing of its caller but the arguments: a loop in it
  /// is compiled for itself, and appears in a profile under its name. All
  /// pointer parameters are noalias. It returns nothing.
  void callPart(llvm::StringRef name, ValueRange arguments,
                llvm::function_ref<void(ValueRange parameters)> body);

  const CpuLevel &level() const { return cpuLevel; }
  /// Whether the level has the instruction; if so, this kernel counts as one
  /// that uses it.
  bool use(Instruction instruction) {
    bool has = cpuLevel.has(instruction);
    if (has)
      used |= 1u << unsigned(instruction);
    return has;
  }
  /// Bits of Instruction.
  unsigned usedInstructions() const { return used; }
  const KernelLayout &layout() const { return kernelLayout; }
  const OperandLayout &operand(unsigned i) const {
    return kernelLayout.operands[i];
  }
  unsigned lanes() const { return cpuLevel.lanes; }
  /// The attributes of @k: `ferrite.scratch_bytes` is what requireScratch()
  /// was told at most.
  mlir::LLVM::LLVMFuncOp function() { return kernelFunc; }
  /// Says that the body uses `bytes` of scratch(), offsets from 0.
  void requireScratch(int64_t bytes);
  int64_t scratchBytes() const { return neededScratch; }

  // Within defineUnits() and defineBody().
  Value ptr(unsigned i) { return values[args.pointer(i)]; }
  Value dim(unsigned i, unsigned d);
  Value stride(unsigned i, unsigned d);
  unsigned rank(unsigned i) const { return operand(i).shape.size(); }
  // Within defineBody() alone.
  Value begin() { return unitBegin; }
  Value end() { return unitEnd; }
  Value scratch() { return scratchPointer; }
  /// `index` made good for `size` elements: a negative one counts from the end.
  /// One still outside is clamped, so that no index can leave the data, and
  /// fails the run.
  Value checkedIndex(Value index, Value size);
  /// scf.for over [begin, end).
  void forUnits(llvm::function_ref<void(Value unit)> body);

  // Types.
  Type f32() { return getF32Type(); }
  Type i64() { return getI64Type(); }
  Type ptrType();
  /// A register of f32, or as many lanes of another type.
  mlir::VectorType vec() { return vec(getF32Type()); }
  mlir::VectorType vec(Type element) {
    return mlir::VectorType::get({lanes()}, element);
  }
  static bool isVector(Value v) {
    return llvm::isa<mlir::VectorType>(v.getType());
  }

  // i64 arithmetic; folds constants.
  Value c(int64_t value);
  Value add(Value a, Value b);
  Value sub(Value a, Value b);
  Value mul(Value a, Value b);
  Value div(Value a, Value b); ///< floor, both >= 0
  Value rem(Value a, Value b); ///< both >= 0
  Value ceilDiv(Value a, Value b);
  Value min(Value a, Value b);
  Value max(Value a, Value b);
  Value add(Value a, int64_t b) { return add(a, c(b)); }
  Value sub(Value a, int64_t b) { return sub(a, c(b)); }
  Value mul(Value a, int64_t b) { return mul(a, c(b)); }
  Value div(Value a, int64_t b) { return div(a, c(b)); }
  Value rem(Value a, int64_t b) { return rem(a, c(b)); }
  Value ceilDiv(Value a, int64_t b) { return ceilDiv(a, c(b)); }
  Value min(Value a, int64_t b) { return min(a, c(b)); }
  Value max(Value a, int64_t b) { return max(a, c(b)); }
  Value eq(Value a, Value b);
  Value ne(Value a, Value b);
  Value lt(Value a, Value b); ///< signed
  Value le(Value a, Value b);
  Value lt(Value a, int64_t b) { return lt(a, c(b)); }
  Value le(Value a, int64_t b) { return le(a, c(b)); }
  Value eq(Value a, int64_t b) { return eq(a, c(b)); }
  Value select(Value condition, Value a, Value b);
  /// The constant value of an i64, if it is one.
  static std::optional<int64_t> constantOf(Value v);
  /// Splits `linear` into one index per size, last size fastest.
  llvm::SmallVector<Value> delinearize(Value linear, ValueRange sizes);

  // f32 arithmetic on scalars and vectors alike; a scalar operand beside a
  // vector one is broadcast. No fast-math: what is written is what is computed.
  Value cf(double value);        ///< scalar f32
  Value splat(double value);     ///< register of one f32
  Value broadcast(Value scalar); ///< into lanes()
  Value broadcast(Value scalar, unsigned lanes);
  Value addF(Value a, Value b);
  Value subF(Value a, Value b);
  Value mulF(Value a, Value b);
  Value divF(Value a, Value b);
  Value negF(Value a);
  Value fma(Value a, Value b, Value c); ///< a * b + c, one rounding
  /// sum + the products of pairs of bf16, 2 * lanes() of them: vdpbf16ps.
  Value dotBF16(Value sum, Value a, Value b);
  /// A register of f32 as bf16: nearest even, denormals as 0: vcvtneps2bf16.
  Value roundBF16(Value v);
  /// a > b ? a : b, one instruction; b when either is NaN.
  Value maxF(Value a, Value b);
  Value minF(Value a, Value b);
  /// Sum or maximum of the lanes of one register, halving: lane i meets lane
  /// i + n/2 first. One fixed order.
  Value reduceAdd(Value vector);
  Value reduceMax(Value vector);

  /// The same bits, in lanes of another width.
  Value bitcast(Value v, Type type);

  // Memory. Offsets are in elements of `element`. Alignment is that of the
  // element unless given in bytes.
  Value gep(Value pointer, Type element, Value offset);
  Value gep(Value pointer, Type element, int64_t offset);
  /// Address of an element of operand i; as many indices as dimensions, fewer
  /// for the start of a row.
  Value address(unsigned i, ValueRange indices);
  Value load(Type type, Value pointer, unsigned align = 0);
  void store(Value value, Value pointer, unsigned align = 0);
  /// Lanes [0, count) of a register: vector<lanes x i1>.
  Value tailMask(Value count);
  Value tailMask(Value count, unsigned lanes);
  /// Lanes outside the mask are `passThrough` (zero by default) and their
  /// memory is not touched. The mask may be null: an ordinary access.
  Value loadMasked(mlir::VectorType type, Value pointer, Value mask,
                   Value passThrough = {}, unsigned align = 0);
  void storeMasked(Value value, Value pointer, Value mask, unsigned align = 0);
  /// A register of lanes() f32 from floats stored as f32, f16 or bf16, and
  /// back (round to nearest even).
  Value loadF32(Value pointer, Type storage, Value mask = {},
                Value passThrough = {});
  void storeF32(Value vector, Value pointer, Type storage, Value mask = {});
  Value loadScalarF32(Value pointer, Type storage);
  void storeScalarF32(Value scalar, Value pointer, Type storage);
  /// Scalars or vectors, between f32 and its storage types. bf16 goes through
  /// integers: LLVM would call a library for it.
  Value extendToF32(Value value);
  Value truncateFromF32(Value value, Type storage);
  void prefetch(Value pointer);

  // Control.
  using LoopBody =
      llvm::function_ref<llvm::SmallVector<Value>(Value iv, ValueRange inits)>;
  void forLoop(Value lower, Value upper, Value step,
               llvm::function_ref<void(Value iv)> body);
  llvm::SmallVector<Value> forLoop(Value lower, Value upper, Value step,
                                   ValueRange inits, LoopBody body);
  void ifThen(Value condition, llvm::function_ref<void()> then);
  void ifElse(Value condition, llvm::function_ref<void()> then,
              llvm::function_ref<void()> otherwise);
  llvm::SmallVector<Value>
  ifElse(Value condition, mlir::TypeRange results,
         llvm::function_ref<llvm::SmallVector<Value>()> then,
         llvm::function_ref<llvm::SmallVector<Value>()> otherwise);
  /// Full registers over [0, count), then one masked rest: body(offset, mask)
  /// with a null mask for full ones.
  void forVectors(Value count,
                  llvm::function_ref<void(Value offset, Value mask)> body);

private:
  mlir::LLVM::LLVMFuncOp makeFunction(llvm::StringRef name, Type result,
                                      llvm::ArrayRef<Type> parameters,
                                      bool internal);
  /// Loads every FerriteArg at the insertion point.
  llvm::SmallVector<Value> loadArguments(Value arguments);
  std::pair<Value, Value> unify(Value a, Value b);
  Value compare(int predicate, Value a, Value b);

  mlir::ModuleOp module;
  std::string symbol;
  KernelLayout kernelLayout;
  KernelArgs args;
  const CpuLevel &cpuLevel;
  mlir::LLVM::LLVMFuncOp kernelFunc;
  llvm::SmallVector<Value> values; // of the arguments, where we are inserting
  Value unitBegin, unitEnd, scratchPointer;
  int64_t neededScratch = 0;
  unsigned used = 0;
};

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_KERNELBUILDER_H
