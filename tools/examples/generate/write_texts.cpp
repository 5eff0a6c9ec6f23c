//===- write_texts.cpp - Several texts at once ----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//   write-texts llm.so 50 [--evict streaming:64+1024] [--among "4 9 12"]
//     "1 15043" "1 3439 17"
//
// Goes on from prompts of token ids, 50 tokens each, all in one batch. Each
// token is printed as it comes, behind the number of its text. With --among the
// texts consist of these tokens alone: a callback takes all others away. One
// that follows a grammar does the same, and looks at the tokens so far. --evict
// says which keys texts give back: FerriteGeneratorOptions::kv_evict.
//
//===----------------------------------------------------------------------===//
#include "ferrite/generate.h"
#include "ferrite/runtime.hpp"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

using Ids = std::vector<std::int64_t>;

static Ids parse(const std::string &text) {
  std::istringstream stream(text);
  Ids ids;
  for (std::int64_t id; stream >> id;)
    ids.push_back(id);
  if (!stream.eof() || ids.empty())
    throw std::invalid_argument("'" + text + "' is not a list of token ids");
  return ids;
}

static void check(FerriteStatus status, const FerriteError &error) {
  if (status != FERRITE_OK)
    throw ferrite::Error(error);
}

static int32_t print(void *number, const FerriteTokenEvent *event) {
  std::printf("%d: %lld%s\n", *static_cast<int *>(number),
              static_cast<long long>(event->token),
              event->finish ? " (end)" : "");
  return 0; // anything else would cancel this text
}

static void allow(void *among, FerriteRequest *, int32_t, const int64_t *,
                  size_t, size_t, float *logits, int64_t vocabulary) {
  std::vector<bool> allowed(static_cast<std::size_t>(vocabulary));
  for (std::int64_t id : *static_cast<const Ids *>(among))
    if (id >= 0 && id < vocabulary)
      allowed[static_cast<std::size_t>(id)] = true;
  for (std::int64_t id = 0; id < vocabulary; ++id)
    if (!allowed[static_cast<std::size_t>(id)])
      logits[id] = -INFINITY;
}

static void run(const char *path, long tokens, const std::string &evict,
                Ids &among, const std::vector<Ids> &prompts) {
  ferrite::Model model = ferrite::Model::load(path);
  FerriteError error;
  FerriteGeneratorOptions options = {};
  options.size = sizeof options;
  if (!evict.empty())
    options.kv_evict = evict.c_str();
  FerriteGenerator *made = nullptr;
  check(ferriteGeneratorCreate(model.get(), &options, &made, &error), error);
  // Numbers outlive the generator, whose callbacks read them.
  std::vector<int> numbers(prompts.size());
  std::unique_ptr<FerriteGenerator, void (*)(FerriteGenerator *)> generator(
      made, ferriteGeneratorDestroy);
  std::vector<std::unique_ptr<FerriteRequest, void (*)(FerriteRequest *)>>
      requests;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    numbers[i] = int(i);
    FerriteRequestOptions wanted = {};
    wanted.size = sizeof wanted;
    wanted.prompt = prompts[i].data();
    wanted.prompt_tokens = prompts[i].size();
    wanted.max_tokens = tokens;
    wanted.on_token = print;
    wanted.on_token_data = &numbers[i];
    if (!among.empty()) {
      wanted.mask_logits = allow;
      wanted.mask_logits_data = &among;
    }
    FerriteRequest *request = nullptr;
    check(ferriteGeneratorSubmit(generator.get(), &wanted, &request, &error),
          error);
    requests.emplace_back(request, ferriteRequestRelease);
  }
  check(ferriteGeneratorRun(generator.get(), &error), error);
  for (auto &request : requests)
    check(ferriteRequestError(request.get(), &error), error);
}

int main(int argc, char **argv) {
  int first = 3;
  std::string evict, allowed;
  for (auto [name, value] :
       {std::pair<const char *, std::string *>{"--evict", &evict},
        {"--among", &allowed}})
    if (first + 1 < argc && argv[first] == std::string(name)) {
      *value = argv[first + 1];
      first += 2;
    }
  if (argc <= first) {
    std::fprintf(stderr, "usage: write-texts MODEL.so TOKENS [--evict WHAT] "
                         "[--among \"ID...\"] \"ID...\"...\n");
    return 1;
  }
  try {
    std::vector<Ids> prompts;
    Ids among;
    if (!allowed.empty())
      among = parse(allowed);
    for (int i = first; i < argc; ++i)
      prompts.push_back(parse(argv[i]));
    run(argv[1], std::strtol(argv[2], nullptr, 10), evict, among, prompts);
  } catch (const std::exception &error) {
    std::fprintf(stderr, "write-texts: %s\n", error.what());
    return 1;
  }
}
