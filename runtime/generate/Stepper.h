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
  int64_t kept;       ///< the most tokens of a text that stay; 0: all
  int64_t pages; ///< 0: enough for `runs` sequences, within half the memory
  FerriteModel *const *encoders = nullptr;
  size_t encoderCount = 0;
  const char *device = nullptr; ///< as FerriteSessionOptions has it
  /// Texts give back what they have too much: no cache limits their length.
  bool endless = false;
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
  /// `bits` (null: a chain) say which of them each sees, itself included: its
  /// position is behind those. `removed` tokens before them are in no page.
  /// Bit i of `leaves`: it leaves out block i of the layers that runs may leave
  /// out. Returns the first of these rows.
  size_t add(FerriteSequence *sequence, FerriteSequence *source,
             const int64_t *tokens, int64_t count, int64_t rows,
             const int64_t *bits = nullptr, int64_t removed = 0,
             uint64_t leaves = 0);
  /// What keys get of the last `count` tokens of the run that was added last is
  /// wanted. Returns its place in weightsOf().
  int32_t weigh(int64_t count);
  /// Of the last call: what each key of head `head` got, of the heads of all
  /// states of keys in order. Several attentions may read the keys of one:
  /// `reader` counts them; null: there are no more.
  const int64_t *weightsOf(int32_t weighed, int64_t head, int32_t reader) const;
  /// Whether the entry tells it of a head.
  bool hasWeights(int64_t head) const;
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
  int64_t maxTokens = 0;  ///< of a text
  int64_t heldPages = 0;  ///< the most of a text at once
  int32_t blockCount = 0; ///< of layers that runs may leave out
  bool weighs = false;    ///< the entry tells what keys get of attention
  int64_t keyHeads = 0;   ///< of all states of keys of a text
  bool selects = false;   ///< short runs read parts of their pages alone
  /// Tokens of a run whose results are those that each would have alone.
  int64_t mostAlike = INT64_MAX;
  double seconds = 0; ///< in the model
  int64_t calls = 0;

private:
  FerriteStatus readEntry(FerriteModel *model, const char *entry,
                          FerriteError *error);
  int64_t mostHeld(const FerriteAbiEntry &entry);
  FerriteStatus makeCache(FerriteModel *model, const StepperOptions &options,
                          FerriteError *error);
  FerriteStatus makeEncoder(FerriteModel *model, const StepperOptions &options,
                            FerriteError *error);
  bool fillTables(List<FerriteSequence *> &of, int32_t group, int64_t limit,
                  List<int32_t> &tables, FerriteTensor &tensor);
  bool readGroup(const FerriteAbiTensor &input, int64_t limit);
  bool readBlock(const FerriteAbiTensor &input);
  FerriteStatus readWeights(const FerriteAbiEntry &entry, FerriteError *error);
  FerriteStatus takeWeights(FerriteError *error);
  size_t tableRoom() const;
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
  /// Of layers with a narrower window: pages of their own.
  struct Group {
    int32_t number;
    const char *slotName, *tableName; ///< of the artifact
    int64_t tableLimit;
    List<int64_t> slots;
    List<int32_t> tables;
  };
  static constexpr int32_t mostGroups = 6;
  Group groups[mostGroups];
  int32_t groupCount = 0;
  /// Of a block of layers that runs may leave out: those that do not.
  struct Block {
    const char *suffix; ///< of its inputs' names
    const char *rowName, *runName, *beginName;
    List<int64_t> rows, runs;
    List<int32_t> begins;
  };
  static constexpr int32_t mostBlocks = 16;
  Block blocks[mostBlocks];
  List<int64_t> weighRuns;
  List<int32_t> weighTokens;
  /// An output that tells what keys get: heads of which layer.
  struct Weights {
    size_t output;
    int64_t firstHead, heads;
    int32_t reader;
    const int64_t *data; ///< of the last call, [weighed, heads, width]
    int64_t width;
  };
  List<Weights> weights;
  List<float> converted;
  List<uint8_t> noEmbeddings; ///< zeros, of a step that takes embeddings
  int32_t embeddingType = FERRITE_F32;
  int64_t embeddingSize = 0;
  const float *logits = nullptr;
};

inline void lower(int64_t &limit, int64_t to) {
  if (to < limit)
    limit = to;
}

/// Now, on a clock that only goes forward.
double seconds();

} // namespace ferrite::gen
#endif // FERRITE_RUNTIME_GENERATE_STEPPER_H
