//===- Stepper.h - Calls of a step entry ------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A model, a session of its step entry and the cache behind it. A call is
// described run by run and then made; its arrays are kept from call to call.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_GENERATE_STEPPER_H
#define FERRITE_RUNTIME_GENERATE_STEPPER_H

#include "generate/Encoder.h"

namespace ferrite::gen {

struct StepperOptions {
  const char *entry;
  int32_t threads;
  int64_t stepTokens; ///< the most of one call
  int64_t runs;       ///< the most of one call
  int64_t maxTokens;  ///< of a sequence; 0: as many as there can be
  int64_t pages; ///< 0: enough for `runs` sequences, within half the memory
  FerriteModel *const *encoders = nullptr;
  size_t encoderCount = 0;
};

class Stepper {
public:
  Stepper() = default;
  ~Stepper();
  Stepper(const Stepper &) = delete;
  Stepper &operator=(const Stepper &) = delete;

  FerriteStatus open(FerriteModel *model, const StepperOptions &options,
                     FerriteError *error);

  /// Begins the description of a call.
  void begin();
  /// Adds the last `count` tokens of a sequence, whose slots were appended to
  /// it: `tokens` are their ids, and logits are wanted of the last `rows` of
  /// them. `source` is what the sequence reads, null where the model has none.
  /// Returns the first of these rows.
  size_t add(FerriteSequence *sequence, FerriteSequence *source,
             const int64_t *tokens, int64_t count, int64_t rows);
  bool hasRuns() const { return contexts.size() > 0; }
  FerriteStatus run(FerriteError *error);
  /// Logits of the last call, of f32.
  const float *row(size_t index) const {
    return logits + index * static_cast<size_t>(vocabulary);
  }

  FerriteCache *cache = nullptr;
  Encoder encoder; ///< open where sequences read a source
  int64_t vocabulary = 0;
  int64_t idLimit = 0;    ///< of token ids
  int64_t stepTokens = 0; ///< what options and the entry's limits allow
  int64_t runLimit = 0;
  int64_t maxTokens = 0;
  double seconds = 0; ///< in the model
  int64_t calls = 0;

private:
  FerriteStatus readEntry(FerriteModel *model, const char *entry,
                          FerriteError *error);
  FerriteStatus makeCache(FerriteModel *model, const StepperOptions &options,
                          FerriteError *error);
  FerriteStatus makeEncoder(FerriteModel *model, const StepperOptions &options,
                            FerriteError *error);
  bool fillTables(List<FerriteSequence *> &of, int64_t limit,
                  List<int32_t> &tables, FerriteTensor &tensor);
  bool reserve();
  FerriteStatus convert(const FerriteTensor &output, FerriteError *error);

  FerriteSession *session = nullptr;
  size_t entryIndex = 0;
  bool takesPositions = false, takesSource = false;
  int64_t positionLimit = INT64_MAX, tableLimit = INT64_MAX,
          sourceTableLimit = INT64_MAX;
  List<int64_t> ids, positions, slots, visible, rows;
  List<int32_t> begins, contexts, tables, sourceLengths, sourceTables;
  List<FerriteSequence *> sequences, sources;
  List<float> converted;
  const float *logits = nullptr;
};

/// Now, on a clock that only goes forward.
double seconds();

} // namespace ferrite::gen
#endif // FERRITE_RUNTIME_GENERATE_STEPPER_H
