//===- Encoder.h - What a decoder reads besides its own text ----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// An encoder-decoder reads a source: its keys and values are computed once for
// a request and kept in a cache of their own. What computes them is a chain of
// entries, each of a model: an encoder gives hidden states, and the decoder's
// entry FERRITE_ENTRY_ENCODE makes keys and values of them. A model that was
// exported as one file has one entry for both.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_GENERATE_ENCODER_H
#define FERRITE_RUNTIME_GENERATE_ENCODER_H

#include "generate/Support.h"

namespace ferrite::gen {

struct Source;

class Encoder {
public:
  Encoder() = default;
  ~Encoder();
  Encoder(const Encoder &) = delete;
  Encoder &operator=(const Encoder &) = delete;

  /// For the step entry of `cache`, which is of FERRITE_STATE_SOURCE and
  /// becomes this object's. `encoders` run before what `model` itself has.
  FerriteStatus open(FerriteModel *model, FerriteModel *const *encoders,
                     size_t count, int32_t threads, const char *device,
                     FerriteCache *cache, FerriteError *error);
  bool isOpen() const { return stages.size() > 0; }

  /// Empty: a request may have this source. It must have all that the chain
  /// does not compute.
  FerriteStatus check(const FerriteTensor *tensors, size_t count,
                      FerriteError *error) const;
  /// A sequence with the keys and values of a source.
  FerriteStatus run(const Source &source, FerriteSequence **sequence,
                    FerriteError *error);

  FerriteCache *cache = nullptr;
  double seconds = 0;
  int64_t runs = 0;

private:
  struct Stage {
    FerriteModel *model;
    const FerriteAbiEntry *entry;
    FerriteSession *session;
    FerriteTensor *outputs; ///< of the last run
  };
  FerriteStatus addStage(FerriteModel *model, bool last, int32_t threads,
                         const char *device, FerriteError *error);
  FerriteStatus runStage(size_t index, const Source &source,
                         FerriteError *error);
  bool findInput(size_t index, const FerriteAbiTensor &input,
                 const FerriteTensor *tensors, size_t count,
                 FerriteTensor &found) const;

  List<Stage> stages;
  List<FerriteTensor> inputs;
  List<int64_t> ones;
};

/// Tensors that a request gives, with all that they point to.
struct Source {
  List<FerriteTensor> tensors;
  List<char> bytes; ///< of names and elements

  bool copy(const FerriteTensor *from, size_t count);
  bool equals(const Source &other) const;
};

} // namespace ferrite::gen
#endif // FERRITE_RUNTIME_GENERATE_ENCODER_H
