//===- PagedCase.h - Paged attention, its kernels, its reference -*- C++ -*-==//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A case is some runs of some sequences. What a sequence's token holds depends
// on the sequence and the token alone, so that the same token can be computed
// in another run, chunk or batch and must give the same bits. Places of pages
// without a token hold NaNs, and pages that nobody should read have no number.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_UNIT_CODEGEN_PAGEDCASE_H
#define FERRITE_TEST_UNIT_CODEGEN_PAGEDCASE_H

#include "passes/Codegen/CPU/EmitPagedAttention.h"
#include "test/unit/codegen/AttentionCase.h"

namespace ferrite::test {

struct PagedRun {
  uint32_t sequence = 1;
  int64_t context = 0, length = 1;
  /// Of each token; empty: causal.
  std::vector<int64_t> visible = {};
  /// Which token of the sequence each is; empty: context, context + 1, ..
  std::vector<int64_t> ids = {};
  /// Its first tokens are those of another sequence.
  int64_t inherited = 0;
  uint32_t parent = 0;

  uint32_t ownerOf(int64_t index) const {
    return index < inherited ? parent : sequence;
  }
  int64_t idOf(int64_t index) const {
    return index < context || ids.empty() ? index : ids[index - context];
  }
};

struct PagedCase {
  int64_t heads = 2, keyHeads = 2, depth = 64, valueDepth = 64;
  std::vector<PagedRun> runs;
  Storage pool = Storage::F32;
  /// 8 or 4: the pool holds records (runtime/cache/Record.h) of that many bits.
  int recordBits = 0;
  int64_t biasWidth = 9;
  /// Pages full of inherited tokens are one for all runs that have them.
  bool shares = false;
  /// Scale, softcap, window, and what operands there are; partials are
  /// computed where `isPartials` would be another kernel's.
  cpu::PagedSpec spec;
  /// A page table wider than needed.
  int64_t spareTable = 0;

  int64_t tokens() const;
  /// Of a row of the result.
  int64_t width() const { return valueDepth + spec.hasLse; }
};

/// The result [tokens, heads, width()] of the kernels, units in so many
/// pieces. `split`: with the kernel of partials before.
std::vector<float> run(const std::string &level, const PagedCase &c,
                       bool split = true, int64_t pieces = 1);
/// By loops in double.
std::vector<double> reference(const PagedCase &c);
/// The kernel that `run` uses.
const KernelJit &pagedKernel(const std::string &level, const PagedCase &c,
                             bool partials, bool split);

} // namespace ferrite::test
#endif // FERRITE_TEST_UNIT_CODEGEN_PAGEDCASE_H
