//===- Texts.h - What `generate` writes -------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_TEXTS_H
#define FERRITE_TOOLS_FERRITE_TEXTS_H

#include "Sources.h"
#include "Tokenizer.h"

#include "ferrite/generate.h"

#include <map>
#include <memory>

namespace ferrite::cli {

struct GeneratorDeleter {
  void operator()(FerriteGenerator *g) const { ferriteGeneratorDestroy(g); }
};
struct RequestDeleter {
  void operator()(FerriteRequest *r) const { ferriteRequestRelease(r); }
};

/// One prompt, and where its tokens go while they come.
struct Text {
  std::vector<int64_t> prompt;
  SourceInputs source; ///< of an encoder-decoder
  std::unique_ptr<FerriteRequest, RequestDeleter> request;
  Tokenizer *tokenizer = nullptr;
  int32_t number = 0;
  bool isBeams = false;
  bool streams = false; ///< this text is shown as it comes
  std::string failure;  ///< what a callback could not throw
  std::map<int32_t, std::vector<FerriteLogprob>> logprobs;
};

/// Callbacks of a request; their data is its Text.
int32_t onToken(void *data, const FerriteTokenEvent *event);
size_t detokenize(void *data, const int64_t *tokens, size_t count, char *text,
                  size_t capacity);

/// All samples of a text; `tokenizer` may be null.
nlohmann::ordered_json resultOf(const Text &text, Tokenizer *tokenizer);
void printSamples(const Text &text, Tokenizer *tokenizer);

nlohmann::ordered_json statsJson(FerriteGenerator *generator, double seconds);
void printStats(const nlohmann::ordered_json &stats);

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_TEXTS_H
