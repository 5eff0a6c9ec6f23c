//===- Inputs.cpp - Inputs from a file or made up from shapes -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Made-up inputs are for timing, so they must be ones that every model takes:
// ids within their table, masks that let everything through.
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"
#include "Main.h"
#include "Model.h"
#include "npz/Npz.h"

#include <CLI/CLI.hpp>

#include <cmath>
#include <cstring>

namespace ferrite::cli {

void addInputOptions(CLI::App &command, InputOptions &options) {
  auto *file = command.add_option("--inputs", options.file,
                                  "an .npz file with an array for each input");
  auto *shape = command.add_option(
      "--shape", options.shapes,
      "NAME=2x128: make inputs of this shape up; sizes that other inputs share "
      "follow");
  shape->allow_extra_args(false)->excludes(file);
  command
      .add_option("--fill", options.fill,
                  "what made-up inputs hold: random numbers (ids within their "
                  "range, masks of ones) or zeros")
      ->check(CLI::IsMember({"random", "zeros"}))
      ->capture_default_str()
      ->excludes(file);
  command.add_option("--seed", options.seed, "where random numbers begin")
      ->capture_default_str()
      ->excludes(file);
}

//===----------------------------------------------------------------------===//
// From a file
//===----------------------------------------------------------------------===//

std::vector<Array> readArrays(const std::string &path) {
  std::vector<Array> arrays;
  if (path.empty())
    return arrays;
  NpzReader reader(path);
  for (const std::string &name : reader.names())
    arrays.push_back(reader.read(name));
  if (arrays.empty())
    throw Error(format("'%s' has no arrays", path.c_str()));
  return arrays;
}

static std::vector<Array>
readInputs(const std::vector<FerriteTensorInfo> &infos,
           const std::string &path) {
  NpzReader reader(path);
  std::vector<Array> result;
  for (const FerriteTensorInfo &info : infos) {
    if (!reader.contains(info.name))
      throw Error(format("'%s' has no array for the input '%s'; it has %s",
                         path.c_str(), info.name,
                         quotedList(reader.names()).c_str()));
    Array array = reader.read(info.name);
    // NumPy users keep bfloat16 as its bits.
    if (info.dtype == FERRITE_BF16 && array.dtype == FERRITE_U16)
      array.dtype = FERRITE_BF16;
    // Of the types of a byte or less, NumPy has three; the rest are their
    // bytes.
    bool isByte = array.dtype == FERRITE_U8 || array.dtype == FERRITE_I8 ||
                  array.dtype == FERRITE_F8E4M3FN;
    if (info.dtype > FERRITE_BOOL && isByte)
      array.dtype = info.dtype;
    result.push_back(std::move(array));
  }
  for (const std::string &name : reader.names()) {
    bool known = false;
    for (const FerriteTensorInfo &info : infos)
      known |= name == info.name;
    if (!known)
      fprintf(stderr,
              "%s: warning: the model has no input '%s'; that array of '%s' is "
              "not used\n",
              program().name.c_str(), name.c_str(), path.c_str());
  }
  return result;
}

//===----------------------------------------------------------------------===//
// From shapes
//===----------------------------------------------------------------------===//

static const FerriteTensorInfo *
findInput(const std::vector<FerriteTensorInfo> &infos,
          const std::string &name) {
  for (const FerriteTensorInfo &info : infos)
    if (name == info.name)
      return &info;
  return nullptr;
}

/// The sizes of symbols that `shapes` tell.
static std::map<std::string, int64_t>
bindSymbols(const std::vector<FerriteTensorInfo> &infos,
            const std::vector<std::string> &shapes) {
  std::map<std::string, int64_t> sizes;
  for (const std::string &text : shapes) {
    NamedShape shape = parseNamedShape(text);
    const FerriteTensorInfo *info = findInput(infos, shape.name);
    if (!info) {
      std::vector<std::string> names;
      for (const FerriteTensorInfo &known : infos)
        names.push_back(known.name);
      throw Error(format("--shape: the model has no input '%s'%s",
                         shape.name.c_str(),
                         suggestion(shape.name, names).c_str()));
    }
    if (size_t(info->rank) != shape.sizes.size())
      throw Error(format("--shape: input '%s' has %d dimensions, not %zu",
                         info->name, info->rank, shape.sizes.size()));
    for (int32_t i = 0; i < info->rank; ++i) {
      const FerriteDimInfo &dim = info->dims[i];
      int64_t known = dim.size;
      if (dim.symbol)
        known = sizes.emplace(dim.symbol, shape.sizes[i]).first->second;
      if (known == shape.sizes[i])
        continue;
      std::string what = dim.symbol ? format(" ('%s')", dim.symbol) : "";
      throw Error(format("--shape: dimension %d%s of '%s' is %lld, not %lld", i,
                         what.c_str(), info->name,
                         static_cast<long long>(known),
                         static_cast<long long>(shape.sizes[i])));
    }
  }
  return sizes;
}

std::vector<Array> makeInputShapes(const FerriteModel *model, size_t entry,
                                   const std::vector<std::string> &shapes) {
  std::vector<FerriteTensorInfo> infos = listInputs(model, entry);
  std::map<std::string, int64_t> sizes = bindSymbols(infos, shapes);
  std::vector<Array> result(infos.size());
  for (size_t i = 0; i < infos.size(); ++i) {
    const FerriteTensorInfo &info = infos[i];
    Array &array = result[i];
    array.name = info.name;
    array.dtype = info.dtype;
    array.rank = info.rank;
    array.bytes = ferriteDTypeSize(info.dtype);
    for (int32_t axis = 0; axis < info.rank; ++axis) {
      const FerriteDimInfo &dim = info.dims[axis];
      array.shape[axis] = dim.size;
      if (dim.symbol) {
        auto found = sizes.find(dim.symbol);
        if (found == sizes.end())
          throw Error(format("how large is '%s' of input '%s'? Give --inputs "
                             "FILE.npz or --shape %s=...",
                             dim.symbol, info.name, info.name));
        array.shape[axis] = found->second;
      }
      if (__builtin_mul_overflow(array.bytes, array.shape[axis], &array.bytes))
        throw Error(
            format("--shape: input '%s' is beyond all memory", info.name));
    }
  }
  return result;
}

namespace {
/// splitmix64: a few lines, and the same numbers everywhere.
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  double uniform() { return (double(next() >> 11) + 0.5) * 0x1p-53; }
  float normal() { // Box-Muller; half of it is thrown away
    return float(std::sqrt(-2 * std::log(uniform())) *
                 std::cos(6.283185307179586 * uniform()));
  }
};
} // namespace

template <typename T, typename Make>
static void fillWith(Array &array, Make make) {
  T *data = static_cast<T *>(array.data.get());
  for (uint64_t i = 0; i < array.bytes / sizeof(T); ++i)
    data[i] = make();
}

template <typename T>
static void fillInteger(Array &array, int64_t limit, Random &random) {
  fillWith<T>(array, [&]() -> T {
    return limit > 0 ? T(random.next() % uint64_t(limit)) : T(1);
  });
}

static void fillRandom(Array &array, int64_t limit, Random &random) {
  switch (array.dtype) {
  case FERRITE_F32:
    return fillWith<float>(array, [&] { return random.normal(); });
  case FERRITE_F64:
    return fillWith<double>(array, [&] { return random.normal(); });
  case FERRITE_F16:
    return fillWith<_Float16>(array, [&] { return _Float16(random.normal()); });
  case FERRITE_BF16: // truncated: which neighbour is of no account here
    return fillWith<uint16_t>(array, [&] {
      float value = random.normal();
      uint32_t bits;
      memcpy(&bits, &value, sizeof bits);
      return uint16_t(bits >> 16);
    });
  case FERRITE_I16:
  case FERRITE_U16:
    return fillInteger<int16_t>(array, limit, random);
  case FERRITE_I32:
  case FERRITE_U32:
    return fillInteger<int32_t>(array, limit, random);
  case FERRITE_I64:
  case FERRITE_U64:
    return fillInteger<int64_t>(array, limit, random);
  default: // i8, u8, bool
    return fillInteger<int8_t>(array, limit, random);
  }
}

std::vector<Array> makeInputs(const FerriteModel *model, size_t entry,
                              const InputOptions &options) {
  std::vector<FerriteTensorInfo> infos = listInputs(model, entry);
  if (!options.file.empty())
    return readInputs(infos, options.file);
  std::vector<Array> result = makeInputShapes(model, entry, options.shapes);
  Random random = {options.seed};
  for (size_t i = 0; i < result.size(); ++i) {
    result[i].allocate();
    if (!result[i].bytes)
      continue;
    if (options.fill == "zeros")
      memset(result[i].data.get(), 0, result[i].bytes);
    else
      fillRandom(result[i], infos[i].id_limit, random);
  }
  return result;
}

} // namespace ferrite::cli
