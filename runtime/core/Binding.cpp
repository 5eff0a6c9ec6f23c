//===- Binding.cpp - Are these the inputs that the entry takes ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The code of a model trusts its inputs wholly: a dimension that disagrees or
// an id beyond its table would be a read out of bounds. So nothing passes here
// that the code is not right for.
//
//===----------------------------------------------------------------------===//
#include "core/Session.h"
#include "cuda/Device.h"

using namespace ferrite::rt;

/// For %lld: int64_t is `long` here.
static long long ll(int64_t value) { return value; }

static void addInputNames(Text &text, const FerriteAbiEntry &entry) {
  for (uint32_t i = 0; i < entry.input_count; ++i)
    text.add("%s%s", i ? ", " : "", entry.inputs[i].name);
}

FerriteStatus ferrite::rt::bindInputs(FerriteSession &session,
                                      const FerriteTensor *inputs, size_t count,
                                      FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  if (count && !inputs)
    return fail(error, FERRITE_INVALID_ARGUMENT, "the inputs are NULL");
  for (uint32_t i = 0; i < entry.input_count; ++i)
    session.boundInputs[i] = nullptr;
  for (size_t i = 0; i < count; ++i) {
    uint32_t place =
        i < entry.input_count ? static_cast<uint32_t>(i) : entry.input_count;
    if (inputs[i].name)
      for (place = 0; place < entry.input_count; ++place)
        if (strcmp(entry.inputs[place].name, inputs[i].name) == 0)
          break;
    if (place == entry.input_count) {
      Text names;
      addInputNames(names, entry);
      if (inputs[i].name)
        return fail(error, FERRITE_INVALID_ARGUMENT,
                    "no input '%s': the entry '%s' takes %s", inputs[i].name,
                    entry.name, names.str());
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "%zu inputs: the entry '%s' takes %u (%s)", count, entry.name,
                  entry.input_count, names.str());
    }
    if (session.boundInputs[place])
      return fail(error, FERRITE_INVALID_ARGUMENT, "input '%s' is given twice",
                  entry.inputs[place].name);
    session.boundInputs[place] = &inputs[i];
  }
  for (uint32_t i = 0; i < entry.input_count; ++i) {
    if (session.boundInputs[i])
      continue;
    Text names;
    addInputNames(names, entry);
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "input '%s' is missing: the entry '%s' takes %u inputs (%s)",
                entry.inputs[i].name, entry.name, entry.input_count,
                names.str());
  }
  return FERRITE_OK;
}

/// The input and dimension that bound a symbol first: the first that has it.
static void findBinder(const FerriteAbiEntry &entry, int32_t symbol,
                       const char *&name, int32_t &dim) {
  for (uint32_t i = 0; i < entry.input_count; ++i)
    for (dim = 0; dim < entry.inputs[i].rank; ++dim)
      if (entry.inputs[i].dims[dim].symbol == symbol) {
        name = entry.inputs[i].name;
        return;
      }
}

static FerriteStatus checkDim(FerriteSession &session,
                              const FerriteAbiTensor &expected, int32_t d,
                              int64_t size, FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  const FerriteAbiDim &dim = expected.dims[d];
  if (size < 0)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "dimension %d of input '%s' is %lld", d, expected.name,
                ll(size));
  if (dim.symbol < 0) {
    if (size == dim.size)
      return FERRITE_OK;
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "dimension %d of input '%s' is %lld, expected %lld", d,
                expected.name, ll(size), ll(dim.size));
  }
  const FerriteAbiSymbol &symbol = entry.symbols[dim.symbol];
  int64_t &bound = session.newSymbols[static_cast<size_t>(dim.symbol)];
  if (bound < 0) {
    bound = size;
    if (size >= symbol.min && size <= symbol.max)
      return FERRITE_OK;
    if (symbol.max == INT64_MAX)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "dimension %d of input '%s' (%s) is %lld, less than %lld", d,
                  expected.name, symbol.name, ll(size), ll(symbol.min));
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "dimension %d of input '%s' (%s) is %lld, outside of %lld to "
                "%lld",
                d, expected.name, symbol.name, ll(size), ll(symbol.min),
                ll(symbol.max));
  }
  if (bound == size)
    return FERRITE_OK;
  const char *binder = "";
  int32_t binderDim = 0;
  findBinder(entry, dim.symbol, binder, binderDim);
  return fail(error, FERRITE_INVALID_ARGUMENT,
              "'%s' is %lld in dimension %d of input '%s', but %lld in "
              "dimension %d of input '%s'",
              symbol.name, ll(bound), binderDim, binder, ll(size), d,
              expected.name);
}

FerriteStatus ferrite::rt::checkShapes(FerriteSession &session,
                                       FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  for (uint32_t i = 0; i < entry.symbol_count; ++i)
    session.newSymbols[i] = -1;
  for (uint32_t i = 0; i < entry.input_count; ++i) {
    const FerriteAbiTensor &expected = entry.inputs[i];
    const FerriteTensor &given = *session.boundInputs[i];
    if (given.dtype != expected.dtype)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "input '%s' has dtype %s, expected %s", expected.name,
                  ferriteDTypeName(given.dtype),
                  ferriteDTypeName(expected.dtype));
    if (given.rank != expected.rank) {
      Text shape, dims;
      if (given.rank >= 0 && given.rank <= FERRITE_MAX_RANK)
        addShape(shape, given.shape, given.rank);
      addDims(dims, expected, entry.symbols);
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "input '%s' has rank %d %s, expected rank %d %s",
                  expected.name, given.rank, shape.str(), expected.rank,
                  dims.str());
    }
    for (int32_t d = 0; d < given.rank; ++d)
      if (FerriteStatus status =
              checkDim(session, expected, d, given.shape[d], error))
        return status;
    uint64_t bytes;
    if (!tensorBytes(given, bytes)) {
      Text shape;
      addShape(shape, given.shape, given.rank);
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "input '%s' of shape %s is larger than any memory",
                  expected.name, shape.str());
    }
  }
  return FERRITE_OK;
}

namespace {

/// Elements of an integer type, looked for one outside of [-limit, limit).
template <typename T>
bool findOutside(const void *data, int64_t count, int64_t limit, int64_t &place,
                 int64_t &value) {
  const T *elements = static_cast<const T *>(data);
  for (int64_t i = 0; i < count; ++i) {
    // An u64 beyond INT64_MAX turns negative: far outside as well.
    int64_t element = static_cast<int64_t>(elements[i]);
    if (element >= -limit && element < limit)
      continue;
    place = i;
    value = element;
    return true;
  }
  return false;
}

bool findOutside(int32_t dtype, const void *data, int64_t count, int64_t limit,
                 int64_t &place, int64_t &value) {
  switch (dtype) {
  case FERRITE_I8:
    return findOutside<int8_t>(data, count, limit, place, value);
  case FERRITE_I16:
    return findOutside<int16_t>(data, count, limit, place, value);
  case FERRITE_I32:
    return findOutside<int32_t>(data, count, limit, place, value);
  case FERRITE_I64:
    return findOutside<int64_t>(data, count, limit, place, value);
  case FERRITE_U8:
  case FERRITE_BOOL:
    return findOutside<uint8_t>(data, count, limit, place, value);
  case FERRITE_U16:
    return findOutside<uint16_t>(data, count, limit, place, value);
  case FERRITE_U32:
    return findOutside<uint32_t>(data, count, limit, place, value);
  case FERRITE_U64:
    return findOutside<uint64_t>(data, count, limit, place, value);
  default: // checkTables lets ids of no other type pass
    return false;
  }
}

FerriteStatus idError(const FerriteAbiTensor &expected,
                      const FerriteTensor &given, int64_t place, int64_t value,
                      FerriteError *error) {
  int64_t position[FERRITE_MAX_RANK] = {};
  for (int32_t d = given.rank - 1; d >= 0; --d) {
    position[d] = place % given.shape[d];
    place /= given.shape[d];
  }
  Text where;
  addShape(where, position, given.rank);
  return fail(error, FERRITE_INVALID_ARGUMENT,
              "input '%s' holds %lld at %s, outside of [%lld, %lld)",
              expected.name, ll(value), where.str(), -ll(expected.id_limit),
              ll(expected.id_limit));
}

} // namespace

FerriteStatus ferrite::rt::checkLocation(const FerriteSession &session,
                                         const char *role, const char *name,
                                         int32_t location,
                                         FerriteError *error) {
  if (location == FERRITE_ON_HOST ||
      (location == FERRITE_ON_DEVICE && session.device))
    return FERRITE_OK;
  if (location == FERRITE_ON_DEVICE)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "%s '%s' is said to lie on a GPU, and the session runs on the "
                "CPU",
                role, name);
  return fail(error, FERRITE_INVALID_ARGUMENT,
              "%s '%s' has the location %d, which is none", role, name,
              location);
}

FerriteStatus ferrite::rt::checkData(FerriteSession &session,
                                     FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  for (uint32_t i = 0; i < entry.input_count; ++i) {
    const FerriteAbiTensor &expected = entry.inputs[i];
    const FerriteTensor &given = *session.boundInputs[i];
    uint64_t bytes = 0;
    tensorBytes(given, bytes);
    if (FerriteStatus status = checkLocation(session, "input", expected.name,
                                             given.location, error))
      return status;
    if (bytes && !given.data)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "the data of input '%s' is "
                  "NULL",
                  expected.name);
    if (given.bytes && given.bytes < bytes)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "input '%s' has %llu bytes, its shape needs %llu",
                  expected.name, static_cast<unsigned long long>(given.bytes),
                  static_cast<unsigned long long>(bytes));
    size_t element = ferriteDTypeSize(given.dtype);
    if (reinterpret_cast<uintptr_t>(given.data) % element)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "the data of input '%s' at %p is not aligned to its elements "
                  "of %zu bytes",
                  expected.name, given.data, element);
    session.seenInputs[i] = given.data;
    if (given.location == FERRITE_ON_DEVICE)
      if (FerriteStatus status = seeInput(session, i, bytes, error))
        return status;
  }
  for (uint32_t i = 0; i < entry.input_count; ++i) {
    const FerriteAbiTensor &expected = entry.inputs[i];
    const FerriteTensor &given = *session.boundInputs[i];
    int64_t place, value;
    if (expected.id_limit <= 0)
      continue;
    uint64_t bytes = 0;
    tensorBytes(given, bytes);
    int64_t count = static_cast<int64_t>(bytes / ferriteDTypeSize(given.dtype));
    if (findOutside(given.dtype, session.seenInputs[i], count,
                    expected.id_limit, place, value))
      return idError(expected, given, place, value, error);
  }
  return FERRITE_OK;
}
