//===- similarity.cpp - How alike two sentences are -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//   similarity minilm.so "101 7592 102" "101 7592 2088 102"
//
// Takes two sentences as token ids, runs them as one batch, the shorter one
// padded, and prints the cosine of their embeddings.
//
//===----------------------------------------------------------------------===//
#include "ferrite/runtime.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
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

static double cosine(const float *a, const float *b, std::int64_t size) {
  double product = 0, left = 0, right = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    product += double(a[i]) * b[i];
    left += double(a[i]) * a[i];
    right += double(b[i]) * b[i];
  }
  return product / std::sqrt(left * right);
}

static void run(const char *path, const std::vector<Ids> &sentences) {
  auto batch = std::int64_t(sentences.size());
  std::size_t length = 0;
  for (const Ids &ids : sentences)
    length = std::max(length, ids.size());
  Ids ids, mask, types(sentences.size() * length);
  for (const Ids &sentence : sentences) {
    ids.insert(ids.end(), sentence.begin(), sentence.end());
    mask.insert(mask.end(), sentence.size(), 1);
    ids.resize(ids.size() + length - sentence.size());
    mask.resize(ids.size());
  }

  ferrite::Session session(ferrite::Model::load(path)); // keeps the model
  std::vector<std::int64_t> shape = {batch, std::int64_t(length)};
  auto outputs = session.run({
      ferrite::tensor("input_ids", ids, shape),
      ferrite::tensor("attention_mask", mask, shape),
      ferrite::tensor("token_type_ids", types, shape),
  });
  for (const ferrite::Tensor &output : outputs)
    if (output.name() == std::string("sentence_embedding")) {
      std::int64_t width = output.shape()[1];
      const float *rows = output.data<float>();
      std::printf("%.9f\n", cosine(rows, rows + width, width));
      return;
    }
  throw std::runtime_error("the model has no output 'sentence_embedding'");
}

int main(int argc, char **argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: similarity MODEL.so \"ID...\" \"ID...\"\n");
    return 1;
  }
  try {
    run(argv[1], {parse(argv[2]), parse(argv[3])});
  } catch (const std::exception &error) {
    std::fprintf(stderr, "similarity: %s\n", error.what());
    return 1;
  }
}
