//===- FakeDecoder.h - A decoder by hand ------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A step entry whose one kernel does what the compiler's do: it writes keys and
// values of the tokens to their slots, attends to what the page tables, runs
// and masks say, and computes logits of the rows that are asked for. A page, a
// slot or a length that is wrong by one changes them; NaN in the pages does,
// too. The order of its sums depends on the sequence alone, so the logits of a
// token are the same bits in any company.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_UNIT_RUNTIME_FAKEDECODER_H
#define FERRITE_TEST_UNIT_RUNTIME_FAKEDECODER_H

#include "FakeModel.h"

#include <atomic>

namespace ferrite::test {

class FakeDecoder : public FakeModel {
public:
  static constexpr int64_t vocabulary = 61, heads = 2, width = 4;

  /// Another `noise` is another model of the same shapes; the larger it is the
  /// less two models agree. `window` > 0: tokens see that many, no more.
  /// `isMixed`: that is so for head 1 alone, which has states of its own, of
  /// group 2.
  explicit FakeDecoder(float noise = 1, int64_t window = -1,
                       bool isMixed = false);

  /// The logits of the last of `tokens`, computed without any page.
  std::vector<float> logitsOf(const std::vector<int64_t> &tokens) const;
  /// The `count` tokens that greedy decoding appends.
  std::vector<int64_t> greedy(std::vector<int64_t> prompt, size_t count) const;

  /// Not 0: tokens of the text of logitsOf() see `sinkPages` pages at its
  /// beginning and those from `windowPages` before their own on.
  int64_t sinkPages = 0, windowPages = 0;

  /// Of all calls so far: runs of one token whose first page is that of such a
  /// run before them, and those of them that are beside one.
  static std::atomic<int64_t> sharers, neighbours;

private:
  bool isMixed;
};

using Tokens = std::vector<int64_t>;
/// `count` tokens that `seed` makes.
Tokens text(size_t count, int64_t seed);

/// The place of the largest element; the first of equal ones.
int64_t argmax(const std::vector<float> &values);

} // namespace ferrite::test
#endif // FERRITE_TEST_UNIT_RUNTIME_FAKEDECODER_H
