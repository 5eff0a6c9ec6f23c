//===- ArtifactFuzz.cpp - Arbitrary bytes as a compiled model -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A libFuzzer target with two halves, by the first byte: the file that the
// loader reads before any of it runs, and the tables that it checks once they
// are mapped. The tables begin as those of a small valid model; the bytes say
// which integers of them are something else.
//
//===----------------------------------------------------------------------===//
#include "core/Model.h"

#include <cstdlib>
#include <cstring>
#include <iterator>

using namespace ferrite::rt;

namespace {

int64_t noUnits(const FerriteArg *) { return 0; }
void noKernel(const FerriteArg *, int64_t, int64_t, void *) {}
void noSetup(const int64_t *, int64_t *) {}

/// One entry: ids [batch, sequence] and mask [batch, 4] to y [batch, 4], in
/// two launches.
struct Tables {
  FerriteAbiDim idDims[2] = {{0, 0, 0}, {0, 1, 0}};
  FerriteAbiDim maskDims[2] = {{0, 0, 0}, {4, -1, 0}};
  FerriteAbiDim outDims[2] = {{0, 1, 0}, {4, -1, 0}};
  FerriteAbiSymbol symbols[2] = {{"batch", 1, 8}, {"sequence", 1, 512}};
  FerriteAbiTensor inputs[2] = {{"ids", FERRITE_I64, 2, idDims, 100},
                                {"mask", FERRITE_F32, 2, maskDims, 0}};
  FerriteAbiTensor outputs[1] = {{"y", FERRITE_F32, 2, outDims, 0}};
  FerriteAbiArg arguments[10] = {
      {FERRITE_ARG_INPUT, 0, 0},     {FERRITE_ARG_WEIGHT, 0, 64},
      {FERRITE_ARG_ARENA, 2, 128},   {FERRITE_ARG_VALUE, 1, 0},
      {FERRITE_ARG_CONST, 0, 4},     {FERRITE_ARG_INPUT_AT, 1, 1},
      {FERRITE_ARG_OUTPUT, 0, 0},    {FERRITE_ARG_OUTPUT_AT, 0, 2},
      {FERRITE_ARG_WEIGHT_AT, 1, 0}, {FERRITE_ARG_STATE, 0, 0}};
  FerriteAbiState states[1] = {{"past", FERRITE_F32, FERRITE_STATE_KEYS, 0, 0,
                                2, 8, FERRITE_PAGE_TOKENS, 4096, -1}};
  FerriteAbiLaunch launches[2] = {{0, 0, 5, 0, "first"},
                                  {1, 5, 5, FERRITE_LAUNCH_CLAIMED, "second"}};
  FerriteAbiKernel kernels[2] = {{"k0", noUnits}, {"k1", noUnits}};
  FerriteKernelFn functions[2] = {noKernel, noKernel};
  FerriteAbiLevel levels[1] = {{"generic", 0, functions}};
  FerriteAbiEntry entries[1] = {};
  FerriteAbiModel model = {};
  float weights[32] = {};

  Tables() {
    FerriteAbiEntry &entry = entries[0];
    entry.name = "main";
    entry.symbols = symbols;
    entry.inputs = inputs;
    entry.outputs = outputs;
    entry.launches = launches;
    entry.arguments = arguments;
    entry.states = states;
    entry.setup = noSetup;
    entry.symbol_count = 2;
    entry.input_count = 2;
    entry.output_count = 1;
    entry.launch_count = 2;
    entry.argument_count = 10;
    entry.value_count = 3;
    entry.state_count = 1;
    entry.scratch_bytes = 64;
    model.magic = FERRITE_ABI_MAGIC;
    model.version = FERRITE_ABI_VERSION;
    model.size = sizeof model;
    model.compiler = "fuzz";
    model.name = "fuzz";
    model.entries = entries;
    model.kernels = kernels;
    model.levels = levels;
    model.weights = weights;
    model.weights_bytes = sizeof weights;
    model.description = "{}";
    model.description_bytes = 2;
    model.entry_count = 1;
    model.kernel_count = 2;
    model.level_count = 1;
  }
};

/// Where the integers are. Pointers are the linker's and are not touched, and
/// a count is never made larger than its table: that nobody could check.
struct Integer {
  void *at;
  size_t bytes;
  uint64_t most;
};

template <typename T>
Integer integer(T &at, uint64_t most = UINT64_MAX) {
  return {&at, sizeof at, most};
}

size_t listIntegers(Tables &t, Integer *list) {
  size_t n = 0;
  auto add = [&](Integer each) { list[n++] = each; };
  for (auto *dims : {t.idDims, t.maskDims, t.outDims})
    for (int i = 0; i < 2; ++i) {
      add(integer(dims[i].size));
      add(integer(dims[i].symbol));
      add(integer(dims[i].check));
    }
  for (auto &symbol : t.symbols) {
    add(integer(symbol.min));
    add(integer(symbol.max));
  }
  for (auto *tensor : {&t.inputs[0], &t.inputs[1], &t.outputs[0]}) {
    add(integer(tensor->dtype));
    // Negative and absurd ranks are to be refused; 3 to 8 would be believed.
    add(integer(tensor->rank));
    add(integer(tensor->id_limit));
  }
  for (auto &arg : t.arguments) {
    add(integer(arg.kind));
    add(integer(arg.index));
    add(integer(arg.offset));
  }
  for (auto &state : t.states) {
    add(integer(state.dtype));
    add(integer(state.kind));
    add(integer(state.layer));
    add(integer(state.group));
    add(integer(state.heads));
    add(integer(state.width));
    add(integer(state.page_tokens));
    add(integer(state.page_bytes));
    add(integer(state.window));
  }
  for (auto &launch : t.launches) {
    add(integer(launch.kernel));
    add(integer(launch.argument_begin));
    add(integer(launch.argument_count));
    add(integer(launch.flags));
  }
  FerriteAbiEntry &entry = t.entries[0];
  add(integer(entry.symbol_count, 2));
  add(integer(entry.input_count, 2));
  add(integer(entry.output_count, 1));
  add(integer(entry.launch_count, 2));
  add(integer(entry.argument_count, 10));
  add(integer(entry.value_count, 3));
  add(integer(entry.arena_value));
  add(integer(entry.state_count, 1));
  add(integer(entry.role));
  add(integer(entry.scratch_bytes));
  add(integer(t.model.magic));
  add(integer(t.model.version));
  add(integer(t.model.size));
  add(integer(t.model.weights_bytes));
  add(integer(t.model.entry_count, 1));
  add(integer(t.model.kernel_count, 2));
  add(integer(t.model.level_count, 1));
  return n;
}

/// An edit is two bytes: which integer, and its new value from a list where the
/// limits lie; or ten, with the value spelled out.
void spoil(Tables &t, const uint8_t *bytes, size_t size) {
  static const int64_t edges[] = {
      0,  1,   2,   3,   4,         7,         8,         9,
      -1, 100, 127, 128, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN};
  Integer list[128];
  size_t count = listIntegers(t, list);
  while (size >= 2) {
    Integer &to = list[bytes[0] % count];
    uint64_t value = static_cast<uint64_t>(edges[bytes[1] % std::size(edges)]);
    size_t used = 2;
    if (bytes[1] >= 0x80 && size >= 10) {
      memcpy(&value, bytes + 2, sizeof value);
      used = 10;
    }
    bool isRank = false;
    for (auto *tensor : {&t.inputs[0], &t.inputs[1], &t.outputs[0]})
      isRank |= to.at == &tensor->rank;
    auto rank = static_cast<int32_t>(value);
    if (value <= to.most && !(isRank && rank > 2 && rank <= FERRITE_MAX_RANK))
      memcpy(to.at, &value, to.bytes);
    bytes += used;
    size -= used;
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  FerriteError error = {};
  if (size == 0)
    return 0;
  FerriteStatus status;
  if (bytes[0] == 'T') {
    Tables tables;
    spoil(tables, bytes + 1, size - 1);
    status = checkTables(tables.model, "'fuzz'", &error);
    // What is accepted can be described, opened, and a session made of it.
    FerriteModel *model = nullptr;
    if (status == FERRITE_OK && ferriteModelOpen(&tables.model, nullptr, &model,
                                                 &error) == FERRITE_OK) {
      ferriteModelEntryCount(model);
      FerriteSession *session = nullptr;
      FerriteSessionOptions options = {};
      options.size = sizeof options;
      options.threads = 1;
      if (tables.entries[0].scratch_bytes < (1 << 20))
        ferriteSessionCreate(model, nullptr, &options, &session, &error);
      ferriteSessionDestroy(session);
      ferriteModelRelease(model);
    }
    return 0;
  }
  status = checkArtifact(bytes, size, "'fuzz'", &error);
  if (status != FERRITE_OK && error.message[0] == 0)
    abort(); // refused without a word
  return 0;
}
