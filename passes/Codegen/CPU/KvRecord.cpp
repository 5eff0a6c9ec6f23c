//===- KvRecord.cpp - Keys and values as bytes, in kernels ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Pages become f32 in scratch, so that products are those of f32 pages,
// whatever the cache holds: one conversion and one multiplication for each
// number, for all rows that read it.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/KvRecord.h"

#include "runtime/cache/Record.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

static constexpr int64_t kPage = 64, kGroup = ferrite::record::kGroup,
                         kGroupBytes = ferrite::record::kGroupBytes;

std::optional<KvRecord> KvRecord::of(Type element, int64_t width) {
  if (!element.isInteger(8))
    return std::nullopt;
  bool isNibbles = element.isUnsignedInteger();
  return KvRecord{isNibbles, record::depthOf(isNibbles, width), width};
}

namespace {
/// Registers of small integers.
struct Integers {
  KernelBuilder &kb;

  Type i8() { return kb.getI8Type(); }
  VectorType words() { return kb.vec(kb.getI32Type()); }
  Value splat(int32_t value) {
    return kb.broadcast(arith::ConstantOp::create(
        kb, kb.getIntegerAttr(kb.getI32Type(), value)));
  }
  /// Unsigned bytes in lanes of 32 bits.
  Value load(Value from, Value mask = {}) {
    return arith::ExtUIOp::create(kb, words(), raw(from, mask));
  }
  Value raw(Value from, Value mask = {}) {
    return kb.loadMasked(kb.vec(i8()), from, mask, {}, 1);
  }
  Value shifted(Value bits, int32_t by) {
    return arith::ShLIOp::create(kb, bits, splat(by));
  }
  Value joined(Value a, Value b) { return arith::OrIOp::create(kb, a, b); }
  Value toFloat(Value words) {
    return arith::SIToFPOp::create(kb, kb.vec(), words);
  }
  void storeBytes(Value words, Value to, Value mask = {}) {
    kb.storeMasked(arith::TruncIOp::create(kb, kb.vec(i8()), words), to, mask,
                   1);
  }
};
} // namespace

/// Lanes rounded to nearest within [least, most], as i32: roundTo().
static Value roundTo(KernelBuilder &kb, Value x, double least, double most) {
  Value magic = kb.splat(12582912);
  x = kb.minF(kb.maxF(x, kb.splat(least)), kb.splat(most));
  x = kb.subF(kb.addF(x, magic), magic);
  return arith::FPToSIOp::create(kb, kb.vec(kb.getI32Type()), x);
}

static void packBytes(KernelBuilder &kb, const KvRecord &record, Value row,
                      Type storage, Value to) {
  Integers ints{kb};
  SmallVector<Value> numbers, masks;
  Value highest = kb.splat(0);
  int64_t lanes = kb.lanes();
  for (int64_t d = 0; d < record.depth; d += lanes) {
    int64_t left = record.depth - d;
    masks.push_back(left < lanes ? kb.tailMask(kb.c(left)) : Value());
    Value x = kb.loadF32(kb.gep(row, storage, d), storage, masks.back());
    numbers.push_back(x);
    Value isLess =
        arith::CmpFOp::create(kb, arith::CmpFPredicate::OLT, x, kb.splat(0));
    highest = kb.maxF(kb.select(isLess, kb.negF(x), x), highest);
  }
  Value scale = kb.divF(kb.reduceMax(highest), kb.cf(127));
  Value none =
      arith::CmpFOp::create(kb, arith::CmpFPredicate::OEQ, scale, kb.cf(0));
  Value divisor = kb.broadcast(kb.select(none, kb.cf(1), scale));
  for (auto [i, x] : llvm::enumerate(numbers))
    ints.storeBytes(roundTo(kb, kb.divF(x, divisor), -127, 127),
                    kb.gep(to, ints.i8(), int64_t(i) * lanes), masks[i]);
  kb.store(scale, kb.gep(to, ints.i8(), record.depth), 1);
}

static void packNibbles(KernelBuilder &kb, const KvRecord &record, Value row,
                        Type storage, Value to) {
  Integers ints{kb};
  int64_t lanes = kb.lanes(), registers = kGroup / lanes;
  kb.forLoop(kb.c(0), kb.c(record.depth / kGroup), kb.c(1), [&](Value g) {
    Value from = kb.gep(row, storage, kb.mul(g, kGroup));
    Value out = kb.gep(to, ints.i8(), kb.mul(g, kGroupBytes));
    SmallVector<Value> numbers;
    Value low, high;
    for (int64_t r = 0; r < registers; ++r) {
      Value x = kb.loadF32(kb.gep(from, storage, r * lanes), storage);
      numbers.push_back(x);
      low = low ? kb.maxF(kb.negF(x), low) : kb.negF(x);
      high = high ? kb.maxF(x, high) : x;
    }
    // A bf16 as it is stored, and as the number that it then is.
    auto store = [&](Value x, int64_t at) -> Value {
      Value bits = arith::BitcastOp::create(
          kb, kb.getI16Type(), kb.truncateFromF32(x, kb.getBF16Type()));
      kb.store(bits, kb.gep(out, ints.i8(), at), 1);
      Value wide = arith::ExtUIOp::create(kb, kb.getI32Type(), bits);
      Value sixteen =
          arith::ConstantOp::create(kb, kb.getIntegerAttr(kb.getI32Type(), 16));
      return arith::BitcastOp::create(kb, kb.f32(),
                                      arith::ShLIOp::create(kb, wide, sixteen));
    };
    // Plus 0, for there are two zeros.
    Value least = store(kb.addF(kb.negF(kb.reduceMax(low)), kb.cf(0)), 18);
    Value scale =
        store(kb.divF(kb.subF(kb.reduceMax(high), least), kb.cf(15)), 16);
    Value positive =
        arith::CmpFOp::create(kb, arith::CmpFPredicate::OGT, scale, kb.cf(0));
    Value divisor = kb.broadcast(kb.select(positive, scale, kb.cf(1)));
    auto codes = [&](int64_t r) {
      return roundTo(kb,
                     kb.divF(kb.subF(numbers[r], kb.broadcast(least)), divisor),
                     0, 15);
    };
    for (int64_t r = 0; r < registers / 2; ++r)
      ints.storeBytes(
          ints.joined(codes(r), ints.shifted(codes(r + registers / 2), 4)),
          kb.gep(out, ints.i8(), r * lanes));
  });
}

void ferrite::cpu::emitPackRecord(KernelBuilder &kb, const KvRecord &record,
                                  Value row, Type storage, Value to) {
  record.isNibbles ? packNibbles(kb, record, row, storage, to)
                   : packBytes(kb, record, row, storage, to);
}

//===----------------------------------------------------------------------===//
// Pages
//===----------------------------------------------------------------------===//

static void fetch(KernelBuilder &kb, Value bytes, int64_t count) {
  if (bytes)
    kb.forLoop(kb.c(0), kb.c(count), kb.c(64), [&](Value line) {
      kb.prefetch(kb.gep(bytes, kb.getI8Type(), line));
    });
}

void ferrite::cpu::emitUnpackKeys(KernelBuilder &kb, const KvRecord &record,
                                  Value page, Value ahead, Value to,
                                  int64_t tokens) {
  SmallVector<Value> arguments = {page, to};
  std::string name = "unpack.keys." + std::to_string(tokens);
  if (ahead) {
    name += ".ahead";
    arguments.push_back(ahead);
  }
  kb.callPart(name, arguments, [&](ValueRange p) {
    Integers ints{kb};
    int64_t lanes = kb.lanes();
    fetch(kb, ahead ? p[2] : Value(), record.width * kPage);
    kb.forLoop(kb.c(0), kb.c(tokens), kb.c(lanes), [&](Value key) {
      auto byteAt = [&](Value w) {
        return kb.gep(kb.gep(p[0], ints.i8(), key), ints.i8(),
                      kb.mul(w, kPage));
      };
      auto store = [&](Value number, Value d) {
        kb.store(
            number,
            kb.gep(kb.gep(p[1], kb.f32(), key), kb.f32(), kb.mul(d, kPage)), 4);
      };
      // Bytes [first, first + count) as the upper ones of 32 bits.
      auto word = [&](Value first, int64_t count) {
        Value bits;
        for (int64_t i = 0; i < count; ++i) {
          Value part = ints.shifted(ints.load(byteAt(kb.add(first, i))),
                                    32 - 8 * (count - i));
          bits = bits ? ints.joined(bits, part) : part;
        }
        return kb.bitcast(bits, kb.vec());
      };
      if (!record.isNibbles) {
        Value scale = word(kb.c(record.depth), 4);
        kb.forLoop(kb.c(0), kb.c(record.depth), kb.c(1), [&](Value d) {
          Value code =
              arith::ExtSIOp::create(kb, ints.words(), ints.raw(byteAt(d)));
          store(kb.mulF(ints.toFloat(code), scale), d);
        });
        return;
      }
      kb.forLoop(
          kb.c(0), kb.c(record.depth / kGroup), kb.c(1), [&](Value group) {
            Value first = kb.mul(group, kGroupBytes);
            Value scale = word(kb.add(first, 16), 2);
            Value least = word(kb.add(first, 18), 2);
            kb.forLoop(kb.c(0), kb.c(kGroup / 2), kb.c(1), [&](Value i) {
              Value both = ints.load(byteAt(kb.add(first, i)));
              Value low = arith::AndIOp::create(kb, both, ints.splat(15));
              Value high = arith::ShRUIOp::create(kb, both, ints.splat(4));
              Value d = kb.add(kb.mul(group, kGroup), i);
              store(kb.fma(ints.toFloat(low), scale, least), d);
              store(kb.fma(ints.toFloat(high), scale, least),
                    kb.add(d, kGroup / 2));
            });
          });
    });
  });
}

void ferrite::cpu::emitUnpackValues(KernelBuilder &kb, const KvRecord &record,
                                    Value page, Value ahead, Value to,
                                    Value count, int64_t stride) {
  SmallVector<Value> arguments = {page, to, count};
  if (ahead)
    arguments.push_back(ahead);
  StringRef name = ahead ? "unpack.values.ahead" : "unpack.values";
  kb.callPart(name, arguments, [&](ValueRange p) {
    Integers ints{kb};
    int64_t lanes = kb.lanes();
    fetch(kb, ahead ? p[3] : Value(), record.width * kPage);
    kb.forLoop(kb.c(0), p[2], kb.c(1), [&](Value token) {
      Value from = kb.gep(p[0], ints.i8(), kb.mul(token, record.width));
      Value out = kb.gep(p[1], kb.f32(), kb.mul(token, stride));
      if (!record.isNibbles) {
        Value scale = kb.broadcast(
            kb.load(kb.f32(), kb.gep(from, ints.i8(), record.depth), 1));
        kb.forVectors(kb.c(record.depth), [&](Value at, Value mask) {
          Value code = arith::ExtSIOp::create(
              kb, ints.words(), ints.raw(kb.gep(from, ints.i8(), at), mask));
          kb.store(kb.mulF(ints.toFloat(code), scale),
                   kb.gep(out, kb.f32(), at), 4);
        });
        return;
      }
      kb.forLoop(
          kb.c(0), kb.c(record.depth / kGroup), kb.c(1), [&](Value group) {
            Value first = kb.gep(from, ints.i8(), kb.mul(group, kGroupBytes));
            auto factor = [&](int64_t at) -> Value {
              Value bits = arith::ExtUIOp::create(
                  kb, kb.getI32Type(),
                  kb.load(kb.getI16Type(), kb.gep(first, ints.i8(), at), 1));
              Value sixteen = arith::ConstantOp::create(
                  kb, kb.getIntegerAttr(kb.getI32Type(), 16));
              return kb.broadcast(arith::BitcastOp::create(
                  kb, kb.f32(), arith::ShLIOp::create(kb, bits, sixteen)));
            };
            Value scale = factor(16), least = factor(18);
            Value target = kb.gep(out, kb.f32(), kb.mul(group, kGroup));
            for (int64_t i = 0; i < kGroup / 2; i += lanes) {
              Value both = ints.load(kb.gep(first, ints.i8(), i));
              Value low = arith::AndIOp::create(kb, both, ints.splat(15));
              Value high = arith::ShRUIOp::create(kb, both, ints.splat(4));
              kb.store(kb.fma(ints.toFloat(low), scale, least),
                       kb.gep(target, kb.f32(), i), 4);
              kb.store(kb.fma(ints.toFloat(high), scale, least),
                       kb.gep(target, kb.f32(), i + kGroup / 2), 4);
            }
          });
    });
  });
}
