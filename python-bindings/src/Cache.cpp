//===- Cache.cpp - ferrite._runtime.Cache and Sequence --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A sequence keeps its cache, a cache its model, whatever Python drops first.
//
//===----------------------------------------------------------------------===//
#include "Arrays.h"

#include "ferrite/cache.h"

#include <nanobind/stl/shared_ptr.h>

namespace ferrite::python {

namespace {

struct Cache {
  Cache(const Model &model, const std::optional<std::string> &entry,
        int64_t pages, int64_t maxTokens) {
    FerriteCacheOptions options = {};
    options.size = sizeof options;
    options.pages = pages;
    options.max_tokens = maxTokens;
    FerriteError error = {};
    detail::check(ferriteCacheCreate(model.get(),
                                     entry ? entry->c_str() : nullptr, &options,
                                     &handle, &error),
                  error);
  }
  Cache(const Cache &) = delete;
  Cache &operator=(const Cache &) = delete;
  ~Cache() { ferriteCacheDestroy(handle); }

  FerriteCache *handle = nullptr;
};
using CachePtr = std::shared_ptr<Cache>;

struct Sequence {
  explicit Sequence(CachePtr of) : cache(std::move(of)) {}
  Sequence(const Sequence &) = delete;
  Sequence &operator=(const Sequence &) = delete;
  ~Sequence() { ferriteSequenceDestroy(handle); }

  CachePtr cache;
  FerriteSequence *handle = nullptr;
};
using SequencePtr = std::shared_ptr<Sequence>;

SequencePtr makeSequence(const CachePtr &cache) {
  auto sequence = std::make_shared<Sequence>(cache);
  FerriteError error = {};
  detail::check(ferriteSequenceCreate(cache->handle, &sequence->handle, &error),
                error);
  return sequence;
}

SequencePtr fork(const Sequence &parent, int64_t tokens) {
  auto sequence = std::make_shared<Sequence>(parent.cache);
  FerriteError error = {};
  detail::check(
      ferriteSequenceFork(parent.handle, tokens, &sequence->handle, &error),
      error);
  return sequence;
}

/// The slots of so many more tokens.
std::vector<int64_t> append(Sequence &sequence, int64_t tokens) {
  std::vector<int64_t> slots(tokens > 0 ? size_t(tokens) : 0);
  FerriteError error = {};
  detail::check(
      ferriteSequenceAppend(sequence.handle, tokens, slots.data(), &error),
      error);
  return slots;
}

void truncate(Sequence &sequence, int64_t tokens) {
  FerriteError error = {};
  detail::check(ferriteSequenceTruncate(sequence.handle, tokens, &error),
                error);
}

std::vector<int32_t> pages(const Sequence &sequence, int32_t group) {
  size_t count = 0;
  const int32_t *first =
      ferriteSequenceGroupPages(sequence.handle, group, &count);
  if (!first)
    return {};
  return {first, first + count};
}

nb::bytes snapshot(const Sequence &sequence) {
  std::string data(ferriteSequenceSnapshotBytes(sequence.handle), '\0');
  FerriteError error = {};
  detail::check(ferriteSequenceSnapshot(sequence.handle, data.data(),
                                        data.size(), &error),
                error);
  return nb::bytes(data.data(), data.size());
}

SequencePtr restore(const CachePtr &cache, const nb::bytes &data) {
  auto sequence = std::make_shared<Sequence>(cache);
  FerriteError error = {};
  detail::check(ferriteSequenceRestore(cache->handle, data.data(), data.size(),
                                       &sequence->handle, &error),
                error);
  return sequence;
}

nb::dict usage(const Cache &cache) {
  FerriteCacheUsage u;
  ferriteCacheUsage(cache.handle, &u);
  nb::dict result;
  result["pages"] = u.pages;
  result["used_pages"] = u.used_pages;
  result["peak_pages"] = u.peak_pages;
  result["page_bytes"] = u.page_bytes;
  result["used_bytes"] = u.used_bytes;
  result["sequences"] = u.sequences;
  result["tokens"] = u.tokens;
  return result;
}

} // namespace

void defineCache(nb::module_ &module) {
  nb::class_<Cache>(module, "Cache")
      .def(
          "__init__",
          [](Cache *self, const Model &model,
             const std::optional<std::string> &entry, int64_t pages,
             int64_t maxTokens) {
            new (self) Cache(model, entry, pages, maxTokens);
          },
          nb::arg("model"), nb::arg("entry").none(), nb::arg("pages"),
          nb::arg("max_tokens"))
      .def(
          "bind",
          [](const Cache &cache, DeviceSession &session) {
            FerriteError error = {};
            detail::check(ferriteCacheBind(cache.handle, session.get(), &error),
                          error);
          },
          nb::arg("session"))
      .def("sequence", makeSequence)
      .def("restore", restore, nb::arg("data"))
      .def("usage", usage)
      .def_prop_ro("entry",
                   [](const Cache &c) { return ferriteCacheEntry(c.handle); })
      .def_prop_ro("max_tokens", [](const Cache &c) {
        return ferriteCacheMaxTokens(c.handle);
      });
  nb::class_<Sequence>(module, "Sequence")
      .def("append", append, nb::arg("tokens"))
      .def("fork", fork, nb::arg("tokens"))
      .def("truncate", truncate, nb::arg("tokens"))
      .def(
          "evict",
          [](Sequence &s, int64_t next) {
            return ferriteSequenceEvict(s.handle, next);
          },
          nb::arg("next"))
      .def("pages", pages, nb::arg("group"))
      .def("snapshot", snapshot)
      .def_prop_ro("length", [](const Sequence &s) {
        return ferriteSequenceLength(s.handle);
      });
}

} // namespace ferrite::python
