//===- Stop.cpp - Where a text ends ---------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "generate/Generator.h"

using namespace ferrite::gen;

/// The text of the last tokens. A stop string lies in as many tokens as it has
/// bytes, unless tokens are empty: eight more are looked at for these.
static bool hasStopString(FerriteRequest &request, const Stream &stream) {
  size_t longest = 0, begin = 0;
  for (size_t end : request.stopEnds) {
    if (end - begin > longest)
      longest = end - begin;
    begin = end;
  }
  size_t made = stream.tokens.size() - request.options.prompt_tokens;
  size_t count = longest + 8 < made ? longest + 8 : made;
  const int64_t *tokens = stream.tokens.end() - count;
  // The buffer grows until the text fits, up to 1 KiB a token.
  size_t capacity = count * 16 + 64, size = 0;
  for (;; capacity *= 4) {
    if (!request.text.reserve(capacity))
      return false;
    size = request.options.detokenize(request.options.detokenize_data, tokens,
                                      count, request.text.data(), capacity);
    if (size < capacity || capacity > count * 1024 + 4096)
      break;
  }
  if (size > capacity)
    size = capacity;
  begin = 0;
  for (size_t end : request.stopEnds) {
    if (memmem(request.text.data(), size, request.stopText.data() + begin,
               end - begin))
      return true;
    begin = end;
  }
  return false;
}

bool ferrite::gen::isStop(FerriteRequest &request, const Stream &stream) {
  int64_t last = stream.tokens[stream.tokens.size() - 1];
  for (int64_t token : request.stopTokens)
    if (token == last)
      return true;
  return !request.stopEnds.empty() && hasStopString(request, stream);
}
