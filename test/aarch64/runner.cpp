//===- runner.cpp - Runs a model once, for another architecture -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//   runner MODEL.so INPUTS OUTPUTS [THREADS]
//
// What run_aarch64.py executes under qemu-user: the runtime and a file of
// tensors, so that nothing but the C library need be there for the other
// architecture. A file is one record after another: the name's length, the
// dtype, the rank (int32), the dims (int64), the name, the elements.
//
//===----------------------------------------------------------------------===//
#include "ferrite/runtime.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace {

struct Tensor {
  std::string name;
  std::vector<char> bytes;
  FerriteTensor view = {};
};

int fail(const char *what) {
  std::fprintf(stderr, "runner: %s\n", what);
  return 1;
}

bool readTensor(std::FILE *file, Tensor &tensor) {
  int32_t head[3];
  if (std::fread(head, sizeof head, 1, file) != 1 || head[0] < 0 ||
      head[0] > 4096 || head[2] < 0 || head[2] > FERRITE_MAX_RANK)
    return false;
  tensor.view.dtype = head[1];
  tensor.view.rank = head[2];
  size_t bytes = ferriteDTypeSize(head[1]);
  for (int32_t i = 0; i < head[2]; ++i) {
    if (std::fread(&tensor.view.shape[i], 8, 1, file) != 1)
      return false;
    bytes *= tensor.view.shape[i];
  }
  tensor.name.resize(head[0]);
  tensor.bytes.resize(bytes);
  if (std::fread(&tensor.name[0], 1, tensor.name.size(), file) !=
          tensor.name.size() ||
      std::fread(tensor.bytes.data(), 1, bytes, file) != bytes)
    return false;
  tensor.view.name = tensor.name.c_str();
  tensor.view.data = tensor.bytes.data();
  tensor.view.bytes = bytes;
  return true;
}

void writeTensor(std::FILE *file, const FerriteTensor &tensor) {
  int32_t head[3] = {int32_t(std::strlen(tensor.name)), tensor.dtype,
                     tensor.rank};
  std::fwrite(head, sizeof head, 1, file);
  std::fwrite(tensor.shape, 8, tensor.rank, file);
  std::fwrite(tensor.name, 1, head[0], file);
  std::fwrite(tensor.data, 1, tensor.bytes, file);
}

} // namespace

int main(int count, char **arguments) {
  if (count < 4)
    return fail("usage: runner MODEL.so INPUTS OUTPUTS [THREADS]");
  std::vector<std::unique_ptr<Tensor>> inputs;
  std::FILE *file = std::fopen(arguments[2], "rb");
  if (!file)
    return fail("no inputs");
  for (;;) {
    auto tensor = std::make_unique<Tensor>();
    if (!readTensor(file, *tensor))
      break;
    inputs.push_back(std::move(tensor));
  }
  std::fclose(file);

  FerriteError error;
  FerriteModel *model = nullptr;
  FerriteSession *session = nullptr;
  FerriteSessionOptions options = {};
  options.size = sizeof options;
  options.threads = count > 4 ? std::atoi(arguments[4]) : 1;
  FerriteEntryInfo info;
  if (ferriteModelLoadFile(arguments[1], nullptr, &model, &error) ||
      ferriteModelEntry(model, 0, &info, &error) ||
      ferriteSessionCreate(model, nullptr, &options, &session, &error))
    return fail(error.message);
  std::vector<FerriteTensor> views, outputs(info.output_count);
  for (const auto &input : inputs)
    views.push_back(input->view);
  if (ferriteSessionRun(session, views.data(), views.size(), outputs.data(),
                        outputs.size(), &error))
    return fail(error.message);
  file = std::fopen(arguments[3], "wb");
  if (!file)
    return fail("cannot write the outputs");
  for (size_t i = 0; i < outputs.size(); ++i) {
    FerriteTensorInfo output;
    if (ferriteModelOutput(model, 0, i, &output, &error))
      return fail(error.message);
    outputs[i].name = output.name;
    writeTensor(file, outputs[i]);
  }
  bool written = std::fclose(file) == 0;
  ferriteSessionDestroy(session);
  ferriteModelRelease(model);
  return written ? 0 : fail("cannot write the outputs");
}
