//===- Embedder.h - Requests to embeddings ----------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef EMBEDDER_H
#define EMBEDDER_H

#include "ferrite/runtime.hpp"

#include <nlohmann/json.hpp>

#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

/// The client's mistake: answered with 400 and these words.
class BadRequest : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Sessions that requests take turns with. There are as many as shall run at
/// once; a request that finds none idle waits.
class SessionPool {
public:
  SessionPool(const ferrite::Model &model, int count, int threads);

  /// A session, until it goes out of scope.
  class Lease {
  public:
    explicit Lease(SessionPool &pool);
    ~Lease();
    Lease(const Lease &) = delete;
    Lease &operator=(const Lease &) = delete;
    ferrite::Session &operator*() const { return *session; }

  private:
    SessionPool &pool;
    ferrite::Session *session;
  };

private:
  std::vector<ferrite::Session> sessions;
  std::mutex mutex;
  std::condition_variable returned;
  std::vector<ferrite::Session *> idle;
};

/// A text encoder: integer inputs of shape [batch, sequence], and an output of
/// shape [batch, width].
class Embedder {
public:
  /// Throws std::invalid_argument for a model of another kind. `output` may be
  /// empty: the last output of rank 2.
  Embedder(const std::string &path, std::string output, int sessions,
           int threads);

  const ferrite::Model &model() const { return loaded; }

  /// {"input_ids": [[...], ...], "attention_mask": ..., ...} to
  /// {"embeddings": [[...], ...]}. From any thread. Throws BadRequest and
  /// ferrite::Error.
  nlohmann::json embed(const nlohmann::json &request);

private:
  ferrite::Model loaded;
  std::string outputName;
  std::size_t outputIndex = 0;
  std::vector<std::string> inputNames;
  SessionPool pool;
};

#endif // EMBEDDER_H
