//===- Generator.cpp - ferrite._runtime.Generator and Request -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Callbacks of Python are called by the thread that steps, which takes the
// interpreter's lock for them. What one raises ends its request and is raised
// again when the step is done.
//
//===----------------------------------------------------------------------===//
#include "Arrays.h"

#include "ferrite/generate.h"

#include <nanobind/stl/shared_ptr.h>

#include <algorithm>
#include <cstring>
#include <exception>

namespace ferrite::python {

namespace {

/// A request, and the callbacks that the generator may call until it is
/// finished: so the generator keeps it until then, whatever Python drops.
struct Request {
  ~Request() { ferriteRequestRelease(handle); }

  FerriteRequest *handle = nullptr;
  nb::object onToken, maskLogits, detokenize;
  std::exception_ptr raised;
  bool failed = false; ///< a callback raised: none is called any more
};

/// Runs `call` with the lock; what it raises is kept, and `failed` returned.
template <typename Result, typename Call>
Result guarded(Request &request, Result failed, Call call) {
  nb::gil_scoped_acquire acquire;
  try {
    if (!request.failed)
      return call();
  } catch (...) {
    request.raised = std::current_exception();
    request.failed = true;
    ferriteRequestCancel(request.handle);
  }
  return failed;
}

int32_t onToken(void *data, const FerriteTokenEvent *event) {
  Request &request = *static_cast<Request *>(data);
  return guarded(request, int32_t(1), [&]() -> int32_t {
    nb::list best;
    for (int32_t i = 0; i < event->logprob_count; ++i)
      best.append(
          nb::make_tuple(event->logprobs[i].token, event->logprobs[i].logprob));
    nb::object answer =
        request.onToken(event->sample, event->index, event->token,
                        event->finish, event->logprob, best);
    return nb::cast<bool>(nb::bool_(answer));
  });
}

void maskLogits(void *data, FerriteRequest *, int32_t sample,
                const int64_t *tokens, size_t count, size_t, float *logits,
                int64_t vocabulary) {
  Request &request = *static_cast<Request *>(data);
  guarded(request, 0, [&] {
    nb::list text;
    for (size_t i = 0; i < count; ++i)
      text.append(tokens[i]);
    size_t shape[] = {size_t(vocabulary)};
    nb::ndarray<nb::numpy, float> view(logits, 1, shape, nb::none());
    request.maskLogits(sample, text, nb::cast(view));
    return 0;
  });
}

size_t detokenize(void *data, const int64_t *tokens, size_t count, char *text,
                  size_t capacity) {
  Request &request = *static_cast<Request *>(data);
  return guarded(request, size_t(0), [&] {
    nb::list ids;
    for (size_t i = 0; i < count; ++i)
      ids.append(tokens[i]);
    auto bytes = nb::cast<nb::bytes>(request.detokenize(ids));
    memcpy(text, bytes.data(), std::min(capacity, bytes.size()));
    return bytes.size();
  });
}

using RequestPtr = std::shared_ptr<Request>;

class Generator {
public:
  Generator(const Model &model, const std::optional<std::string> &entry,
            int32_t threads, int32_t stepTokens, int32_t streams,
            int32_t draftTokens, int64_t maxTokens, int64_t cachePages,
            std::optional<Model> draft, std::optional<std::string> draftEntry,
            bool sharing, const std::vector<Model> &encoders,
            const std::optional<std::string> &evict) {
    FerriteGeneratorOptions options = {};
    options.size = sizeof options;
    options.entry = entry ? entry->c_str() : nullptr;
    options.threads = threads;
    options.step_tokens = stepTokens;
    options.streams = streams;
    options.draft_tokens = draftTokens;
    options.max_tokens = maxTokens;
    options.cache_pages = cachePages;
    options.draft = draft ? draft->get() : nullptr;
    options.draft_entry = draftEntry ? draftEntry->c_str() : nullptr;
    options.no_sharing = !sharing;
    options.kv_evict = evict ? evict->c_str() : nullptr;
    std::vector<FerriteModel *> models;
    for (const Model &encoder : encoders)
      models.push_back(encoder.get());
    options.encoders = models.data();
    options.encoder_count = models.size();
    FerriteError error;
    detail::check(
        ferriteGeneratorCreate(model.get(), &options, &handle, &error), error);
  }
  ~Generator() { ferriteGeneratorDestroy(handle); }
  Generator(const Generator &) = delete;
  Generator &operator=(const Generator &) = delete;

  RequestPtr submit(const std::vector<int64_t> &prompt, int64_t maxTokens,
                    const nb::dict &sampling,
                    const std::vector<int64_t> &stopTokens,
                    const std::vector<std::string> &stopStrings,
                    int32_t samples, int32_t beams, float lengthPenalty,
                    bool earlyStopping, int32_t logprobs, int32_t speculation,
                    nb::object onTokenCall, nb::object maskCall,
                    nb::object detokenizeCall, const std::vector<Named> &source,
                    uint64_t leaveOut);

  /// False when no request is left.
  bool step() {
    size_t left = 0;
    FerriteError error;
    FerriteStatus status;
    {
      nb::gil_scoped_release release;
      status = ferriteGeneratorStep(handle, &left, &error);
    }
    std::exception_ptr raised;
    for (size_t i = 0; i < requests.size();) {
      if (requests[i]->raised)
        raised = std::exchange(requests[i]->raised, nullptr);
      if (ferriteRequestFinish(requests[i]->handle) != FERRITE_FINISH_NONE)
        requests.erase(requests.begin() + std::ptrdiff_t(i));
      else
        ++i;
    }
    if (raised)
      std::rethrow_exception(raised);
    detail::check(status, error);
    return left != 0;
  }

  nb::dict stats() const {
    FerriteGeneratorStats s;
    FerriteCacheUsage c;
    ferriteGeneratorStats(handle, &s);
    ferriteGeneratorCacheUsage(handle, &c);
    nb::dict result;
    result["steps"] = s.steps;
    result["prompt_tokens"] = s.prompt_tokens;
    result["shared_tokens"] = s.shared_tokens;
    result["text_tokens"] = s.text_tokens;
    result["drafted_tokens"] = s.drafted_tokens;
    result["accepted_tokens"] = s.accepted_tokens;
    result["preemptions"] = s.preemptions;
    result["model_seconds"] = s.model_seconds;
    result["draft_seconds"] = s.draft_seconds;
    result["encoder_runs"] = s.encoder_runs;
    result["encoder_seconds"] = s.encoder_seconds;
    result["evictions"] = s.evictions;
    result["evicted_tokens"] = s.evicted_tokens;
    result["seen_tokens"] = s.seen_tokens;
    result["kept_tokens"] = s.kept_tokens;
    result["cache_pages"] = c.pages;
    result["cache_used_pages"] = c.used_pages;
    result["cache_peak_pages"] = c.peak_pages;
    result["cache_page_bytes"] = c.page_bytes;
    return result;
  }

  FerriteGenerator *handle = nullptr;
  std::vector<RequestPtr> requests;
};

RequestPtr
Generator::submit(const std::vector<int64_t> &prompt, int64_t maxTokens,
                  const nb::dict &sampling,
                  const std::vector<int64_t> &stopTokens,
                  const std::vector<std::string> &stopStrings, int32_t samples,
                  int32_t beams, float lengthPenalty, bool earlyStopping,
                  int32_t logprobs, int32_t speculation, nb::object onTokenCall,
                  nb::object maskCall, nb::object detokenizeCall,
                  const std::vector<Named> &source, uint64_t leaveOut) {
  FerriteSampling how = {};
  how.size = sizeof how;
  auto take = [&](const char *name, auto &field) {
    using Field = std::remove_reference_t<decltype(field)>;
    if (sampling.contains(name))
      field = nb::cast<Field>(sampling[name]);
  };
  take("temperature", how.temperature);
  take("top_k", how.top_k);
  take("top_p", how.top_p);
  take("min_p", how.min_p);
  take("repetition_penalty", how.repetition_penalty);
  take("presence_penalty", how.presence_penalty);
  take("frequency_penalty", how.frequency_penalty);
  take("seed", how.seed);
  std::vector<int64_t> biasTokens;
  std::vector<float> biasValues;
  if (sampling.contains("logit_bias"))
    for (auto [token, value] : nb::cast<nb::dict>(sampling["logit_bias"])) {
      biasTokens.push_back(nb::cast<int64_t>(token));
      biasValues.push_back(nb::cast<float>(value));
    }
  how.bias_tokens = biasTokens.data();
  how.bias_values = biasValues.data();
  how.bias_count = biasTokens.size();
  std::vector<const char *> stops;
  for (const std::string &stop : stopStrings)
    stops.push_back(stop.c_str());

  auto request = std::make_shared<Request>();
  FerriteRequestOptions options = {};
  options.size = sizeof options;
  options.prompt = prompt.data();
  options.prompt_tokens = prompt.size();
  options.max_tokens = maxTokens;
  options.sampling = &how;
  options.stop_tokens = stopTokens.data();
  options.stop_token_count = stopTokens.size();
  options.stop_strings = stops.data();
  options.stop_string_count = stops.size();
  options.samples = samples;
  options.beams = beams;
  options.length_penalty = lengthPenalty;
  options.early_stopping = earlyStopping;
  options.logprobs = logprobs;
  options.speculation = speculation;
  options.leave_out = leaveOut;
  GpuArrays none;
  Inputs arrays(source, none);
  std::vector<FerriteTensor> tensors;
  for (const Tensor &tensor : arrays.tensors())
    tensors.push_back(tensor.raw);
  options.source = tensors.data();
  options.source_count = tensors.size();
  options.on_token_data = options.mask_logits_data = options.detokenize_data =
      request.get();
  if (!onTokenCall.is_none())
    options.on_token = onToken;
  if (!maskCall.is_none())
    options.mask_logits = maskLogits;
  if (!detokenizeCall.is_none())
    options.detokenize = detokenize;
  request->onToken = std::move(onTokenCall);
  request->maskLogits = std::move(maskCall);
  request->detokenize = std::move(detokenizeCall);
  FerriteError error;
  detail::check(
      ferriteGeneratorSubmit(handle, &options, &request->handle, &error),
      error);
  requests.push_back(request);
  return request;
}

std::vector<int64_t> tokensOf(const Request &request, int32_t sample) {
  size_t count = 0;
  const int64_t *tokens = ferriteRequestTokens(request.handle, sample, &count);
  return std::vector<int64_t>(tokens, tokens + count);
}

} // namespace

void defineGenerator(nb::module_ &module) {
  nb::class_<Request>(module, "Request")
      .def_prop_ro(
          "finish",
          [](const Request &r) { return int(ferriteRequestFinish(r.handle)); })
      .def_prop_ro(
          "samples",
          [](const Request &r) { return ferriteRequestSamples(r.handle); })
      .def("tokens", tokensOf, nb::arg("sample"))
      .def(
          "sample_finish",
          [](const Request &r, int32_t sample) {
            return int(ferriteRequestSampleFinish(r.handle, sample));
          },
          nb::arg("sample"))
      .def(
          "score",
          [](const Request &r, int32_t sample) {
            return ferriteRequestScore(r.handle, sample);
          },
          nb::arg("sample"))
      .def("check",
           [](const Request &r) {
             FerriteError error = {};
             detail::check(ferriteRequestError(r.handle, &error), error);
           })
      .def("cancel", [](const Request &r) { ferriteRequestCancel(r.handle); });
  nb::class_<Generator>(module, "Generator")
      .def(nb::init<const Model &, const std::optional<std::string> &, int32_t,
                    int32_t, int32_t, int32_t, int64_t, int64_t,
                    std::optional<Model>, std::optional<std::string>, bool,
                    const std::vector<Model> &,
                    const std::optional<std::string> &>(),
           nb::arg("model"), nb::arg("entry").none(), nb::arg("threads"),
           nb::arg("step_tokens"), nb::arg("streams"), nb::arg("draft_tokens"),
           nb::arg("max_tokens"), nb::arg("cache_pages"),
           nb::arg("draft").none(), nb::arg("draft_entry").none(),
           nb::arg("sharing"), nb::arg("encoders"), nb::arg("kv_evict").none())
      .def("submit", &Generator::submit, nb::arg("prompt"),
           nb::arg("max_tokens"), nb::arg("sampling"), nb::arg("stop_tokens"),
           nb::arg("stop_strings"), nb::arg("samples"), nb::arg("beams"),
           nb::arg("length_penalty"), nb::arg("early_stopping"),
           nb::arg("logprobs"), nb::arg("speculation"),
           nb::arg("on_token").none(), nb::arg("mask_logits").none(),
           nb::arg("detokenize").none(), nb::arg("source"),
           nb::arg("leave_out"))
      .def("step", &Generator::step)
      .def("stats", &Generator::stats)
      .def_prop_ro("vocabulary",
                   [](const Generator &g) {
                     return ferriteGeneratorVocabulary(g.handle);
                   })
      .def_prop_ro("max_tokens", [](const Generator &g) {
        return ferriteGeneratorMaxTokens(g.handle);
      });
}

} // namespace ferrite::python
