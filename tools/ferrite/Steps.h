//===- Steps.h - Single calls of a decoder's step -----------------*- C++
//-*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What `bench --prefill` and `--decode` time: one call of the step entry for
// the sequences of an .npz file, whose arrays are named as the inputs of the
// ONNX model. Each call finds the cache as the first one did.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_STEPS_H
#define FERRITE_TOOLS_FERRITE_STEPS_H

#include "Model.h"

#include "ferrite/cache.h"

namespace ferrite::cli {

class Steps {
public:
  /// `decode`: input_ids [batch, 1], and a past of each state. Else input_ids
  /// [batch, tokens], and no past.
  Steps(FerriteModel *model, const std::string &path, bool decode,
        int32_t threads);
  ~Steps();

  /// Makes one call and returns its seconds; the tokens are forgotten again.
  double run();

  FerriteSession *session() const { return stepSession.get(); }
  /// Of the last call: logits [batch, 1, vocabulary] of the last tokens first.
  std::vector<FerriteTensor> outputs() const;
  std::vector<FerriteTensor> inputs() const;

private:
  SessionPtr stepSession;
  FerriteCache *cache = nullptr;
  std::vector<FerriteSequence *> sequences;
  int64_t context = 0, tokens = 0; ///< of each sequence
  std::vector<int64_t> ids, positions, slots, visible, rows;
  std::vector<int32_t> begins, contexts, tables;
};

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_STEPS_H
