//===- Texts.cpp - What `generate` writes ---------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Texts.h"
#include "CommandLine.h"
#include "Measure.h"

#include <algorithm>
#include <cstring>

namespace ferrite::cli {

using Json = nlohmann::ordered_json;

int32_t onToken(void *data, const FerriteTokenEvent *event) {
  Text &text = *static_cast<Text *>(data);
  if (event->logprob_count && event->token >= 0)
    text.logprobs[event->sample].push_back({event->token, event->logprob});
  if (!text.streams || event->sample != 0)
    return 0;
  try {
    std::string piece;
    if (!text.tokenizer && event->token >= 0)
      piece = (event->index ? "," : "") + std::to_string(event->token);
    if (text.tokenizer && event->token >= 0)
      piece = text.tokenizer->add(event->token, text.number);
    if (text.tokenizer && event->finish)
      piece += text.tokenizer->end(text.number);
    fwrite(piece.data(), 1, piece.size(), stdout);
    fflush(stdout);
  } catch (const std::exception &error) { // it came through C
    text.failure = error.what();
    return 1;
  }
  return 0;
}

size_t detokenize(void *data, const int64_t *tokens, size_t count, char *text,
                  size_t capacity) {
  try {
    std::string result =
        static_cast<Text *>(data)->tokenizer->decode(tokens, count);
    memcpy(text, result.data(), std::min(capacity, result.size()));
    return result.size();
  } catch (const std::exception &error) {
    static_cast<Text *>(data)->failure = error.what();
    return 0;
  }
}

static const char *finishName(FerriteFinish finish) {
  switch (finish) {
  case FERRITE_FINISH_STOP:
    return "stop";
  case FERRITE_FINISH_LENGTH:
    return "length";
  case FERRITE_FINISH_CANCELLED:
    return "cancelled";
  case FERRITE_FINISH_FAILED:
    return "failed";
  case FERRITE_FINISH_NONE:
    break;
  }
  return "none";
}

Json resultOf(const Text &text, Tokenizer *tokenizer) {
  Json samples = Json::array();
  FerriteRequest *request = text.request.get();
  for (int32_t i = 0; i < ferriteRequestSamples(request); ++i) {
    size_t count = 0;
    const int64_t *tokens = ferriteRequestTokens(request, i, &count);
    Json sample = {
        {"tokens", std::vector<int64_t>(tokens, tokens + count)},
        {"finish", finishName(ferriteRequestSampleFinish(request, i))}};
    if (tokenizer)
      sample["text"] = tokenizer->decode(tokens, count);
    if (auto found = text.logprobs.find(i); found != text.logprobs.end())
      for (const FerriteLogprob &each : found->second)
        sample["logprobs"].push_back(each.logprob);
    if (text.isBeams)
      sample["score"] = ferriteRequestScore(request, i);
    samples.push_back(sample);
  }
  return {{"prompt_tokens", text.prompt.size()}, {"samples", samples}};
}

Json statsJson(FerriteGenerator *generator, double seconds) {
  FerriteGeneratorStats stats;
  FerriteCacheUsage usage;
  ferriteGeneratorStats(generator, &stats);
  ferriteGeneratorCacheUsage(generator, &usage);
  FerriteCacheUsage source;
  ferriteGeneratorSourceUsage(generator, &source);
  return {{"seconds", seconds},
          {"tokens_per_s", double(stats.text_tokens) / seconds},
          {"steps", stats.steps},
          {"prompt_tokens", stats.prompt_tokens},
          {"shared_tokens", stats.shared_tokens},
          {"text_tokens", stats.text_tokens},
          {"drafted_tokens", stats.drafted_tokens},
          {"accepted_tokens", stats.accepted_tokens},
          {"preemptions", stats.preemptions},
          {"model_s", stats.model_seconds},
          {"draft_s", stats.draft_seconds},
          {"encoder_runs", stats.encoder_runs},
          {"encoder_s", stats.encoder_seconds},
          {"evictions", stats.evictions},
          {"evicted_tokens", stats.evicted_tokens},
          {"seen_tokens", stats.seen_tokens},
          {"kept_tokens", stats.kept_tokens},
          {"cache_peak_pages", usage.peak_pages},
          {"source_peak_bytes", source.peak_pages * source.page_bytes},
          {"cache_peak_bytes", usage.peak_pages * usage.page_bytes},
          {"peak_rss_bytes", peakRssBytes()}};
}

void printSamples(const Text &text, Tokenizer *tokenizer) {
  Json result = resultOf(text, tokenizer);
  size_t number = 0;
  for (const Json &sample : result["samples"]) {
    if (number++ == 0 && text.streams)
      continue;
    if (tokenizer) {
      printf("%s\n", sample["text"].get<std::string>().c_str());
      continue;
    }
    std::string ids = sample["tokens"].dump();
    printf("%s\n", ids.substr(1, ids.size() - 2).c_str());
  }
}

void printStats(const Json &stats) {
  auto number = [&](const char *name) { return stats[name].get<double>(); };
  fprintf(stderr,
          "%.0f tokens of prompts (%.0f more shared) and %.0f of texts in %.3f "
          "s, %.1f tokens/s; %.0f steps, %.3f s in the model\n",
          number("prompt_tokens"), number("shared_tokens"),
          number("text_tokens"), number("seconds"), number("tokens_per_s"),
          number("steps"), number("model_s"));
  if (number("drafted_tokens") > 0)
    fprintf(stderr, "guessed %.0f tokens, %.1f %% right, in %.3f s\n",
            number("drafted_tokens"),
            100 * number("accepted_tokens") / number("drafted_tokens"),
            number("draft_s"));
  if (number("encoder_runs") > 0)
    fprintf(stderr, "encoded %.0f sources in %.3f s, memory %s\n",
            number("encoder_runs"), number("encoder_s"),
            bytesString(number("source_peak_bytes")).c_str());
  if (number("evictions") > 0)
    fprintf(stderr, "evicted %.0f tokens of each head in %.0f goes\n",
            number("evicted_tokens"), number("evictions"));
  if (number("kept_tokens") < number("seen_tokens"))
    fprintf(stderr, "texts had %.1f %% of their tokens in pages\n",
            100 * number("kept_tokens") / number("seen_tokens"));
  fprintf(stderr, "memory: cache %.0f pages, %s, peak resident %s\n",
          number("cache_peak_pages"),
          bytesString(number("cache_peak_bytes")).c_str(),
          bytesString(number("peak_rss_bytes")).c_str());
}

} // namespace ferrite::cli
