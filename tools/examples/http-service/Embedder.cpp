//===- Embedder.cpp - Requests to embeddings ------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Embedder.h"

#include <algorithm>
#include <map>

using nlohmann::json;

//===----------------------------------------------------------------------===//
// Sessions
//===----------------------------------------------------------------------===//

SessionPool::SessionPool(const ferrite::Model &model, int count, int threads) {
  ferrite::SessionOptions options;
  options.threads = threads;
  for (int i = 0; i < count; ++i)
    sessions.emplace_back(model, options);
  for (ferrite::Session &session : sessions)
    idle.push_back(&session);
}

SessionPool::Lease::Lease(SessionPool &pool) : pool(pool) {
  std::unique_lock<std::mutex> lock(pool.mutex);
  pool.returned.wait(lock, [&] { return !pool.idle.empty(); });
  session = pool.idle.back(); // the last one used: its memory is in the cache
  pool.idle.pop_back();
}

SessionPool::Lease::~Lease() {
  {
    std::lock_guard<std::mutex> lock(pool.mutex);
    pool.idle.push_back(session);
  }
  pool.returned.notify_one();
}

//===----------------------------------------------------------------------===//
// Requests
//===----------------------------------------------------------------------===//

namespace {
/// Rows of token ids, or of what goes with them; each as long as the longest.
struct Rows {
  std::vector<std::int64_t> values;
  std::vector<std::size_t> lengths; // before padding
  std::size_t width = 0;

  std::vector<std::int64_t> shape() const {
    return {std::int64_t(lengths.size()), std::int64_t(width)};
  }
};
} // namespace

static std::int64_t integer(const std::string &name, const json &value) {
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() > std::uint64_t(INT64_MAX))
    throw BadRequest("a number in '" + name + "' is too large");
  if (!value.is_number_integer())
    throw BadRequest("'" + name + "' must hold integers alone, but has " +
                     value.type_name());
  return value.get<std::int64_t>();
}

/// Rows that differ in length are padded with 0 when `ragged`, else refused.
static Rows parseRows(const std::string &name, const json &value, bool ragged) {
  std::string shape = "'" + name + "' must be a list of lists of integers";
  if (!value.is_array())
    throw BadRequest(shape);
  Rows rows;
  for (const json &row : value) {
    if (!row.is_array())
      throw BadRequest(shape);
    rows.lengths.push_back(row.size());
    rows.width = std::max(rows.width, row.size());
  }
  for (std::size_t length : rows.lengths)
    if (length != rows.width && !ragged)
      throw BadRequest("the rows of '" + name + "' differ in length");
  // Padding may not cost more than the request itself did, by much.
  if (rows.width * rows.lengths.size() > (std::size_t(1) << 22))
    throw BadRequest("the batch is too large");
  rows.values.resize(rows.width * rows.lengths.size());
  auto row = rows.values.begin();
  for (const json &list : value) {
    std::transform(list.begin(), list.end(), row,
                   [&](const json &item) { return integer(name, item); });
    row += std::ptrdiff_t(rows.width);
  }
  return rows;
}

static Rows maskOf(const Rows &ids) {
  Rows mask = ids;
  for (std::size_t i = 0; i < ids.lengths.size(); ++i)
    for (std::size_t k = 0; k < ids.width; ++k)
      mask.values[i * ids.width + k] = k < ids.lengths[i];
  return mask;
}

/// What the client sent, and what follows from it: without a mask all tokens
/// count, and without token types there is one sentence in each row.
static std::map<std::string, Rows>
parseInputs(const json &request, const std::vector<std::string> &names) {
  if (!request.is_object())
    throw BadRequest("the request must be a JSON object");
  if (request.contains("texts"))
    throw BadRequest("this service has no tokenizer: send 'input_ids'");
  auto wants = [&](const char *name) {
    return std::find(names.begin(), names.end(), name) != names.end() &&
           !request.contains(name);
  };
  bool makesMask = wants("attention_mask");
  std::map<std::string, Rows> inputs;
  for (const auto &item : request.items())
    inputs[item.key()] =
        parseRows(item.key(), item.value(),
                  /*ragged=*/makesMask && item.key() == "input_ids");
  auto ids = inputs.find("input_ids");
  if (ids == inputs.end())
    return inputs; // the runtime says what is missing
  if (makesMask)
    inputs["attention_mask"] = maskOf(ids->second);
  if (wants("token_type_ids")) {
    Rows types = ids->second;
    std::fill(types.values.begin(), types.values.end(), 0);
    inputs["token_type_ids"] = types;
  }
  return inputs;
}

static json lists(const ferrite::Tensor &tensor) {
  const float *values = tensor.data<float>();
  std::int64_t width = tensor.shape()[1];
  json rows = json::array();
  for (std::int64_t i = 0; i < tensor.shape()[0]; ++i)
    rows.push_back(
        std::vector<double>(values + i * width, values + (i + 1) * width));
  return rows;
}

json Embedder::embed(const json &request) {
  std::map<std::string, Rows> inputs = parseInputs(request, inputNames);
  std::vector<ferrite::Tensor> tensors;
  for (const auto &[name, rows] : inputs)
    tensors.push_back(ferrite::tensor(name.c_str(), rows.values, rows.shape()));
  // The result is the session's: it is read before the session goes back.
  SessionPool::Lease session(pool);
  return {{"embeddings", lists((*session).run(tensors)[outputIndex])}};
}

//===----------------------------------------------------------------------===//
// The model
//===----------------------------------------------------------------------===//

Embedder::Embedder(const std::string &path, std::string output, int sessions,
                   int threads)
    : loaded(ferrite::Model::load(path)), outputName(std::move(output)),
      pool(loaded, sessions, threads) {
  for (const FerriteTensorInfo &input : loaded.inputs()) {
    if (input.dtype != FERRITE_I64 || input.rank != 2)
      throw std::invalid_argument(
          std::string("this is no text encoder: its input '") + input.name +
          "' is not an i64 matrix");
    inputNames.push_back(input.name);
  }
  bool found = false;
  std::vector<FerriteTensorInfo> outputs = loaded.outputs();
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    bool matrix = outputs[i].rank == 2 && outputs[i].dtype == FERRITE_F32;
    if (matrix && (outputName.empty() || outputName == outputs[i].name)) {
      outputIndex = i;
      found = true;
    }
  }
  if (!found)
    throw std::invalid_argument(
        "the model has no f32 matrix among its outputs" +
        (outputName.empty() ? std::string()
                            : " with the name '" + outputName + "'"));
}
