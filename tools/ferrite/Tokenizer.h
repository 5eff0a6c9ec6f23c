//===- Tokenizer.h - Text to tokens and back --------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Hugging Face's `tokenizers` is Rust, and its C++ bindings are packaged
// nowhere; its Python package is everywhere. So a Python process answers
// (tokenizer.py, which is part of this program). Without Python, or without
// that package, `generate` still takes and gives token ids.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_TOKENIZER_H
#define FERRITE_TOOLS_FERRITE_TOKENIZER_H

#include <nlohmann/json.hpp>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace ferrite::cli {

class Tokenizer {
public:
  /// Starts the process: `python`, the environment variable FERRITE_PYTHON, or
  /// python3. Throws when the tokenizer cannot be read.
  Tokenizer(const std::string &path, const std::string &chatTemplate,
            const std::string &python);
  ~Tokenizer();
  Tokenizer(const Tokenizer &) = delete;
  Tokenizer &operator=(const Tokenizer &) = delete;

  std::vector<int64_t> encode(const std::string &text);
  /// Messages of (role, content) by the model's chat template.
  std::vector<int64_t>
  chat(const std::vector<std::pair<std::string, std::string>> &messages);
  /// The text that a token adds to that of `stream`; whole characters only.
  std::string add(int64_t token, int32_t stream);
  std::string end(int32_t stream);
  std::string decode(const int64_t *tokens, size_t count);
  /// The tokens that end a text, by the files beside the tokenizer.
  std::vector<int64_t> stops();
  /// The tokens that the decoder of an encoder-decoder begins with, by the
  /// same.
  std::vector<int64_t> starts();

private:
  nlohmann::json ask(const nlohmann::json &question);

  int pid = -1;
  FILE *questions = nullptr, *answers = nullptr;
};

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_TOKENIZER_H
