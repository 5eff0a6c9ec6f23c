//===- BatchBench.cpp - Requests that come and go, against a batch --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//   ferrite-batch-bench MODEL.so [--requests=32] [--streams=8] [--prompt=128]
//                       [--text=128] [--threads=1] [--rounds=5]
//
// A static batch is `streams` requests of one length that begin and end
// together: nothing is ever missing from it. Against it, `requests` of mixed
// lengths (half as long to half as long again, the same sum) go through as many
// streams: as one ends the next begins, its prompt computed beside the others'
// tokens. The share says what coming and going costs. Rounds of both take
// turns, so that a machine that changes its mind changes both.
//
//===----------------------------------------------------------------------===//
#include "ferrite/generate.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {
struct Options {
  const char *model = nullptr;
  int64_t requests = 32, streams = 8, prompt = 128, text = 128, threads = 1,
          rounds = 5;
};

struct Length {
  int64_t prompt, text;
};

void check(FerriteStatus status, const FerriteError &error) {
  if (status == FERRITE_OK)
    return;
  fprintf(stderr, "ferrite-batch-bench: %s\n", error.message);
  exit(1);
}

/// Tokens of texts a second.
double rate(FerriteModel *model, const Options &o,
            const std::vector<Length> &lengths) {
  FerriteError error;
  FerriteGeneratorOptions options = {};
  options.size = sizeof options;
  options.streams = static_cast<int32_t>(o.streams);
  options.threads = static_cast<int32_t>(o.threads);
  options.max_tokens = 2 * (o.prompt + o.text);
  options.no_sharing = 1;
  FerriteGenerator *generator = nullptr;
  check(ferriteGeneratorCreate(model, &options, &generator, &error), error);
  int64_t vocabulary = ferriteGeneratorVocabulary(generator);
  std::vector<FerriteRequest *> requests;
  uint64_t state = 1;
  auto begin = std::chrono::steady_clock::now();
  for (const Length &length : lengths) {
    std::vector<int64_t> prompt;
    while (static_cast<int64_t>(prompt.size()) < length.prompt) {
      state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
      prompt.push_back(static_cast<int64_t>((state >> 33) %
                                            static_cast<uint64_t>(vocabulary)));
    }
    FerriteRequestOptions request = {};
    request.size = sizeof request;
    request.prompt = prompt.data();
    request.prompt_tokens = prompt.size();
    request.max_tokens = length.text;
    FerriteRequest *made = nullptr;
    check(ferriteGeneratorSubmit(generator, &request, &made, &error), error);
    requests.push_back(made);
  }
  check(ferriteGeneratorRun(generator, &error), error);
  double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin)
          .count();
  int64_t tokens = 0;
  for (FerriteRequest *request : requests) {
    check(ferriteRequestError(request, &error), error);
    size_t count = 0;
    ferriteRequestTokens(request, 0, &count);
    tokens += static_cast<int64_t>(count);
    ferriteRequestRelease(request);
  }
  ferriteGeneratorDestroy(generator);
  return static_cast<double>(tokens) / seconds;
}

/// Pairs of lengths on both sides of the mean; long prompts do not go with long
/// texts.
std::vector<Length> mixed(const Options &o) {
  std::vector<Length> result;
  for (int64_t i = 0; i < o.requests; ++i) {
    int64_t place = i / 2 * 7919 % o.requests;
    auto spread = [&](int64_t mean, int64_t at) {
      int64_t by = mean * at / (2 * o.requests);
      return i % 2 ? mean + by : mean - by;
    };
    result.push_back({spread(o.prompt, (place * 5 + 3) % o.requests),
                      spread(o.text, place)});
  }
  return result;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}
} // namespace

int main(int argc, char **argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    auto number = [&](const char *name, int64_t &to) {
      std::string prefix = std::string("--") + name + "=";
      if (strncmp(argv[i], prefix.c_str(), prefix.size()) != 0)
        return false;
      to = strtoll(argv[i] + prefix.size(), nullptr, 10);
      return to > 0;
    };
    if (argv[i][0] != '-' && !o.model)
      o.model = argv[i];
    else if (!number("requests", o.requests) && !number("streams", o.streams) &&
             !number("prompt", o.prompt) && !number("text", o.text) &&
             !number("threads", o.threads) && !number("rounds", o.rounds)) {
      fprintf(stderr, "ferrite-batch-bench: what is '%s'?\n", argv[i]);
      return 1;
    }
  }
  if (!o.model) {
    fprintf(stderr, "ferrite-batch-bench: which model?\n");
    return 1;
  }
  FerriteError error;
  FerriteModel *model = nullptr;
  check(ferriteModelLoadFile(o.model, nullptr, &model, &error), error);
  std::vector<Length> whole(static_cast<size_t>(o.streams), {o.prompt, o.text});
  std::vector<Length> lengths = mixed(o);
  std::vector<double> batch, flowing, shares;
  for (int64_t i = 0; i < o.rounds; ++i) {
    batch.push_back(rate(model, o, whole));
    flowing.push_back(rate(model, o, lengths));
    shares.push_back(flowing.back() / batch.back());
  }
  printf("static batch of %lld: %.0f tokens/s; %lld mixed requests: %.0f "
         "tokens/s, %.1f %% of it (rounds %.1f to %.1f %%)\n",
         static_cast<long long>(o.streams), median(batch),
         static_cast<long long>(o.requests), median(flowing),
         100 * median(shares),
         100 * *std::min_element(shares.begin(), shares.end()),
         100 * *std::max_element(shares.begin(), shares.end()));
  ferriteModelRelease(model);
  return 0;
}
