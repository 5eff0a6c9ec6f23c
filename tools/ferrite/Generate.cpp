//===- Generate.cpp - ferrite generate ------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The file is longer than others because the command has many options, each of
// which is two lines.
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"
#include "Main.h"
#include "Measure.h"
#include "Texts.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <chrono>
#include <fstream>
#include <memory>
#include <sstream>

namespace ferrite::cli {

namespace {
using Json = nlohmann::ordered_json;

struct GenerateOptions {
  ModelOptions model;
  std::vector<std::string> encoders, sources;
  std::vector<int64_t> decoderIds;
  std::string draft, tokenizer, python, chatTemplate, system;
  std::vector<std::string> prompts, files, idLists;
  std::string draftEntry;
  bool chat = false, lookup = false, noDraft = false, bench = false,
       json = false, ignoreEnd = false, earlyStopping = false;
  FerriteGeneratorOptions generator = {};
  FerriteRequestOptions request = {};
  FerriteSampling sampling = {};
  std::vector<std::string> stops;
  std::vector<int64_t> stopIds;
  std::string evict;
};

using Clock = std::chrono::steady_clock;
double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}
} // namespace

static std::vector<int64_t> parseIds(const std::string &text) {
  std::vector<int64_t> ids;
  for (const std::string &word : splitList(text, ',')) {
    char *end = nullptr;
    errno = 0;
    ids.push_back(strtoll(word.c_str(), &end, 10));
    if (word.empty() || *end || errno)
      throw Error(format("--prompt-ids: '%s' is no token id", word.c_str()));
  }
  return ids;
}

static std::string readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  if (!file || !text)
    throw Error(format("cannot read the prompt '%s'", path.c_str()));
  return text.str();
}

static std::vector<std::vector<int64_t>>
readPrompts(const GenerateOptions &options, Tokenizer *tokenizer) {
  std::vector<std::vector<int64_t>> result;
  for (const std::string &list : options.idLists)
    result.push_back(parseIds(list));
  std::vector<std::string> texts = options.prompts;
  for (const std::string &path : options.files)
    texts.push_back(readFile(path));
  if (!tokenizer && !texts.empty())
    throw Error("a prompt of text needs --tokenizer FILE; --prompt-ids goes "
                "without");
  for (const std::string &text : texts) {
    if (!options.chat) {
      result.push_back(tokenizer->encode(text));
      continue;
    }
    std::vector<std::pair<std::string, std::string>> messages;
    if (!options.system.empty())
      messages.push_back({"system", options.system});
    messages.push_back({"user", text});
    result.push_back(tokenizer->chat(messages));
  }
  return result;
}

/// A text for each prompt. Of an encoder-decoder prompts are what the encoder
/// reads, as are files of features, and the text begins with --decoder-ids.
static std::vector<std::unique_ptr<Text>>
makeTexts(const GenerateOptions &options, Tokenizer *tokenizer,
          bool takesSource) {
  std::vector<std::unique_ptr<Text>> texts;
  auto add = [&](std::vector<int64_t> prompt, SourceInputs source) {
    texts.push_back(std::make_unique<Text>());
    texts.back()->prompt = std::move(prompt);
    texts.back()->source = std::move(source);
  };
  if (!takesSource && (!options.sources.empty() || !options.decoderIds.empty()))
    throw Error("--inputs and --decoder-ids are for encoder-decoders, and this "
                "model reads nothing of an encoder");
  std::vector<int64_t> start = options.decoderIds;
  if (takesSource && start.empty() && tokenizer)
    start = tokenizer->starts();
  if (takesSource && start.empty())
    throw Error("with which token does the decoder begin? Give --decoder-ids, "
                "or --tokenizer with a config.json beside it that has a "
                "decoder_start_token_id");
  for (std::vector<int64_t> &prompt : readPrompts(options, tokenizer)) {
    if (takesSource)
      add(start, sourceOfIds(prompt));
    else
      add(std::move(prompt), {});
  }
  for (const std::string &path : options.sources)
    add(start, sourceOfFile(path));
  if (texts.empty())
    throw Error(std::string("which prompt? Give --prompt TEXT, --prompt-file "
                            "FILE or --prompt-ids 1,2,3") +
                (takesSource ? ", or --inputs FILE.npz" : ""));
  return texts;
}

static void submit(const GenerateOptions &options, FerriteGenerator *generator,
                   Text &text) {
  FerriteRequestOptions request = options.request;
  std::vector<const char *> stops;
  for (const std::string &stop : options.stops)
    stops.push_back(stop.c_str());
  request.size = sizeof request;
  request.prompt = text.prompt.data();
  request.prompt_tokens = text.prompt.size();
  std::vector<FerriteTensor> source = text.source.tensors();
  request.source = source.data();
  request.source_count = source.size();
  request.sampling = &options.sampling;
  request.stop_tokens = options.stopIds.data();
  request.stop_token_count = options.stopIds.size();
  request.stop_strings = stops.data();
  request.stop_string_count = stops.size();
  request.detokenize = detokenize;
  request.detokenize_data = &text;
  request.on_token = onToken;
  request.on_token_data = &text;
  request.early_stopping = options.earlyStopping;
  bool drafts = options.generator.draft || options.generator.draft_entry;
  request.speculation = options.lookup ? FERRITE_SPECULATE_LOOKUP
                        : drafts       ? FERRITE_SPECULATE_DRAFT
                                       : FERRITE_SPECULATE_NONE;
  FerriteRequest *made = nullptr;
  FerriteError error;
  check(ferriteGeneratorSubmit(generator, &request, &made, &error), error);
  text.request.reset(made);
}

/// The step of a model that was compiled in as `draft`; empty: there is none.
static std::string findDraft(const FerriteModel *model) {
  for (size_t i = 0; i < ferriteModelEntryCount(model); ++i) {
    FerriteEntryInfo info;
    FerriteError error;
    check(ferriteModelEntry(model, i, &info, &error), error);
    std::string name = info.name;
    if (info.role == FERRITE_ENTRY_STEP &&
        (name == "draft" || name == "draft_step"))
      return name;
  }
  return "";
}

/// Tokens of a measurement that nobody gave a number for.
static constexpr int64_t kBenchTokens = 128;

static int generate(GenerateOptions &options) {
  if (options.bench && options.request.max_tokens == 0)
    options.request.max_tokens = kBenchTokens;
  ModelPtr model = loadModel(options.model);
  ModelPtr draft;
  if (!options.draft.empty()) {
    ModelOptions other;
    other.artifact = options.draft;
    other.level = options.model.level;
    draft = loadModel(other);
  }
  options.generator.size = sizeof options.generator;
  options.generator.entry =
      options.model.entry.empty() ? nullptr : options.model.entry.c_str();
  options.generator.draft = draft.get();
  options.generator.device = options.model.device.c_str();
  if (!options.evict.empty())
    options.generator.kv_evict = options.evict.c_str();
  std::vector<ModelPtr> encoders;
  std::vector<FerriteModel *> encoderModels;
  for (const std::string &path : options.encoders) {
    ModelOptions other;
    other.artifact = path;
    other.level = options.model.level;
    encoders.push_back(loadModel(other));
    encoderModels.push_back(encoders.back().get());
  }
  options.generator.encoders = encoderModels.data();
  options.generator.encoder_count = encoderModels.size();
  if (options.draftEntry.empty() && !draft && !options.lookup &&
      !options.noDraft)
    options.draftEntry = findDraft(model.get());
  if (!options.draftEntry.empty())
    options.generator.draft_entry = options.draftEntry.c_str();
  FerriteGenerator *made = nullptr;
  FerriteError error;
  FerriteStatus status =
      ferriteGeneratorCreate(model.get(), &options.generator, &made, &error);
  if (status == FERRITE_NOT_FOUND || status == FERRITE_INCOMPATIBLE)
    throw Error(error.message, FERRITE_COMPILE_UNSUPPORTED);
  check(status, error);
  std::unique_ptr<FerriteGenerator, GeneratorDeleter> generator(made);
  std::unique_ptr<Tokenizer> tokenizer;
  if (!options.tokenizer.empty())
    tokenizer = std::make_unique<Tokenizer>(
        options.tokenizer, options.chatTemplate, options.python);
  if (!options.stops.empty() && !tokenizer)
    throw Error("--stop needs --tokenizer FILE; --stop-ids goes without");
  if (tokenizer && !options.ignoreEnd)
    for (int64_t id : tokenizer->stops())
      options.stopIds.push_back(id);

  // Before the generator, which may call them until it is gone.
  std::vector<std::unique_ptr<Text>> texts = makeTexts(
      options, tokenizer.get(), ferriteGeneratorTakesSource(generator.get()));
  auto begin = Clock::now();
  for (size_t i = 0; i < texts.size(); ++i) {
    Text &text = *texts[i];
    text.tokenizer = tokenizer.get();
    text.number = int32_t(i);
    text.isBeams = options.request.beams > 1;
    text.streams = texts.size() == 1 && !options.json && !options.bench;
    submit(options, generator.get(), text);
  }
  status = ferriteGeneratorRun(generator.get(), &error);
  double seconds = since(begin);
  if (status)
    for (auto &text : texts)
      ferriteRequestCancel(text->request.get());
  check(status, error);
  for (auto &text : texts) {
    if (!text->failure.empty())
      throw Error(text->failure);
    check(ferriteRequestError(text->request.get(), &error), error);
  }
  Json stats = statsJson(generator.get(), seconds);
  if (options.json) {
    Json answer = {{"texts", Json::array()}, {"stats", stats}};
    for (auto &text : texts)
      answer["texts"].push_back(resultOf(*text, tokenizer.get()));
    printf("%s\n",
           answer.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
               .c_str());
    return 0;
  }
  if (texts[0]->streams)
    printf("\n");
  if (!options.bench)
    for (auto &text : texts)
      printSamples(*text, tokenizer.get());
  if (options.bench)
    printStats(stats);
  return 0;
}

static void addSamplingOptions(CLI::App &command, GenerateOptions &o) {
  FerriteSampling &s = o.sampling;
  s.size = sizeof s;
  command.add_option("--temperature", s.temperature,
                     "0: the most likely token, always (default)");
  command.add_option("--top-k", s.top_k, "choose of the k most likely tokens");
  command.add_option("--top-p", s.top_p,
                     "choose of the fewest tokens that have this share");
  command.add_option("--min-p", s.min_p,
                     "choose of tokens with this share of the best one's");
  command.add_option("--repetition-penalty", s.repetition_penalty,
                     "divides the logits of tokens that were there");
  command.add_option("--presence-penalty", s.presence_penalty,
                     "is taken from the logits of tokens of the text");
  command.add_option("--frequency-penalty", s.frequency_penalty,
                     "the same, for each time that they occur");
  command.add_option("--seed", s.seed, "the same seed, the same text");
  command.add_option("--samples", o.request.samples, "texts of each prompt");
  command.add_option("--beams", o.request.beams,
                     "search for the most likely texts with so many beams");
  command.add_option("--length-penalty", o.request.length_penalty,
                     "scores of beams are divided by length to this");
  command.add_flag("--early-stopping", o.earlyStopping,
                   "end with as many texts as beams");
  command.add_option("--logprobs", o.request.logprobs,
                     "with --json: logarithms of probabilities of the tokens");
}

void addGenerate(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<GenerateOptions>();
  GenerateOptions &o = *options;
  CLI::App *command =
      app.add_subcommand("generate", "Let a compiled decoder write");
  addModelOptions(*command, o.model);
  addDeviceOption(*command, o.model);
  command->add_option("--prompt", o.prompts, "the text to go on from")
      ->allow_extra_args(false);
  command->add_option("--prompt-file", o.files, "a file with such a text")
      ->allow_extra_args(false);
  command
      ->add_option("--prompt-ids", o.idLists,
                   "1,2,3: tokens instead of text, which need no tokenizer")
      ->allow_extra_args(false);
  command
      ->add_option("--encoder", o.encoders,
                   "of an encoder-decoder whose encoder is a model of its own: "
                   "that artifact; several run in order")
      ->allow_extra_args(false);
  command
      ->add_option("--inputs", o.sources,
                   "an .npz file with inputs of the encoder, e.g. features of "
                   "speech, instead of a prompt")
      ->allow_extra_args(false);
  command
      ->add_option("--decoder-ids", o.decoderIds,
                   "0: the tokens that an encoder-decoder's text begins with "
                   "(default: by the config.json beside the tokenizer)")
      ->delimiter(',');
  command->add_option("--tokenizer", o.tokenizer,
                      "tokenizer.json (needs Python with the package "
                      "`tokenizers`)");
  command->add_option("--python", o.python,
                      "the Python that reads it (default: FERRITE_PYTHON, "
                      "python3)");
  command->add_flag("--chat", o.chat,
                    "the prompt is a message, put into the model's chat "
                    "template (needs `jinja2`)");
  command->add_option("--system", o.system, "with --chat: a message before it");
  command->add_option("--chat-template", o.chatTemplate,
                      "a Jinja file (default: the one beside the tokenizer)");
  command
      ->add_option("--max-tokens", o.request.max_tokens,
                   "the most to write (default: as many as there can be; with "
                   "--bench 128)")
      ->check(CLI::Range(int64_t(1), INT64_MAX));
  command->add_option("--stop", o.stops, "end with this text")
      ->allow_extra_args(false);
  command->add_option("--stop-ids", o.stopIds, "1,2: end with these tokens")
      ->delimiter(',');
  command->add_flag("--ignore-end", o.ignoreEnd,
                    "go on behind the model's own end of text");
  addSamplingOptions(*command, o);
  command->add_option("--draft", o.draft,
                      "a smaller model that guesses tokens ahead: the text "
                      "stays the same");
  command->add_option("--draft-entry", o.draftEntry,
                      "an entry that guesses, of --draft or of the model "
                      "itself (default: draft_step or draft, where there is "
                      "one)");
  command->add_flag("--no-draft", o.noDraft,
                    "guess nothing, though the model has a draft");
  command->add_option("--draft-width", o.generator.draft_width,
                      "the most guesses for one place (default: 2)");
  command->add_option("--draft-tokens", o.generator.draft_tokens,
                      "the most to guess (default: 8)");
  command->add_flag("--lookup", o.lookup,
                    "guess what followed the same words before");
  command->add_option("--threads", o.generator.threads,
                      "how many threads compute (default: the CPUs of this "
                      "process)");
  command->add_option("--context", o.generator.max_tokens,
                      "the most tokens of prompt and text");
  command->add_option("--step-tokens", o.generator.step_tokens,
                      "the most tokens of one call (default: 512)");
  command->add_option("--cache-pages", o.generator.cache_pages,
                      "pages of 64 tokens that the cache has");
  command->add_option(
      "--kv-evict", o.evict,
      "what a text gives back, in tokens; the model must see all tokens in all "
      "layers. streaming:SINKS+WINDOW: all but the first and the last, in "
      "whole "
      "pages of 64. snapkv:BUDGET[+WINDOW]: of a prompt all but the BUDGET "
      "that "
      "its last WINDOW (32) attended to most, and these. h2o:BUDGET+RECENT: "
      "all "
      "but the BUDGET that was attended to most, and the last RECENT. These "
      "two "
      "need compile --sparsify=weigh");
  command->add_flag("--bench", o.bench,
                    "print speeds and memory instead of texts");
  command->add_flag("--json", o.json, "print one JSON object");
  command->footer(examples(
      {"generate llm.so --tokenizer tokenizer.json --prompt \"def f(\"",
       "generate llm.so --prompt-ids 1,15043 --max-tokens 50 --bench",
       "generate llm.so --tokenizer tokenizer.json --prompt-file long.txt "
       "--kv-evict snapkv:1024",
       "generate t5.so --encoder t5-encoder.so --tokenizer tokenizer.json "
       "--prompt \"translate ...\"",
       "generate whisper.so --encoder whisper-encoder.so --inputs speech.npz "
       "--decoder-ids 50258,50259,50359,50363"}));
  command->callback([options, &exitCode] { exitCode = generate(*options); });
}

} // namespace ferrite::cli
