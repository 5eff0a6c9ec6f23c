//===- Npy.cpp - NumPy's format of one array ------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "npz/Npy.h"
#include "Error.h"

#include <cstdlib>
#include <cstring>

namespace ferrite::cli {

void Array::Free::operator()(void *memory) const { free(memory); }

void Array::allocate() {
  data.reset();
  if (!bytes)
    return;
  // aligned_alloc wants a multiple of the alignment.
  if (bytes < UINT64_MAX - 63)
    data.reset(aligned_alloc(64, (bytes + 63) / 64 * 64));
  if (!data)
    throw Error(format("array '%s': no memory for %llu bytes", name.c_str(),
                       static_cast<unsigned long long>(bytes)));
}

FerriteTensor Array::tensor() const {
  FerriteTensor result = {};
  result.data = data.get();
  result.bytes = bytes;
  result.name = name.c_str();
  result.dtype = dtype;
  result.rank = rank;
  memcpy(result.shape, shape, sizeof shape);
  return result;
}

std::string shapeString(int32_t rank, const int64_t *shape) {
  if (rank == 0)
    return "scalar";
  std::string result;
  for (int32_t i = 0; i < rank; ++i)
    result += (i ? "x" : "") + std::to_string(shape[i]);
  return result;
}

//===----------------------------------------------------------------------===//
// Element types
//===----------------------------------------------------------------------===//

namespace {
struct TypeCode {
  const char *code; /* without the byte order */
  int32_t dtype;
};
} // namespace

static constexpr TypeCode typeCodes[] = {
    {"f4", FERRITE_F32},
    {"f2", FERRITE_F16},
    {"V2", FERRITE_BF16},
    {"f8", FERRITE_F64},
    {"i1", FERRITE_I8},
    {"i2", FERRITE_I16},
    {"i4", FERRITE_I32},
    {"i8", FERRITE_I64},
    {"u1", FERRITE_U8},
    {"u2", FERRITE_U16},
    {"u4", FERRITE_U32},
    {"u8", FERRITE_U64},
    {"b1", FERRITE_BOOL},
    // What has no type of NumPy's is bytes; reading gives the first of these,
    // and the model's input knows which it is.
    {"V1", FERRITE_F8E4M3FN},
    {"V1", FERRITE_F8E4M3FNUZ},
    {"V1", FERRITE_F8E5M2},
    {"V1", FERRITE_F8E5M2FNUZ},
    {"V1", FERRITE_F8E8M0FNU},
    {"V1", FERRITE_F4E2M1FN},
    {"V1", FERRITE_I4},
    {"V1", FERRITE_U4},
    {"V1", FERRITE_I2},
    {"V1", FERRITE_U2}};

static void parseType(std::string_view text, NpyHeader &header) {
  for (const TypeCode &row : typeCodes) {
    if (text.size() != 3 || text.substr(1) != row.code ||
        !strchr("<>|=", text[0]))
      continue;
    header.dtype = row.dtype;
    // Bytes of a void type have no order.
    header.bigEndian = text[0] == '>' && row.dtype != FERRITE_BF16;
    return;
  }
  throw Error(format("elements of type '%.*s' are not supported",
                     static_cast<int>(std::min<size_t>(text.size(), 40)),
                     text.data()));
}

//===----------------------------------------------------------------------===//
// Header
//===----------------------------------------------------------------------===//

namespace {
/// Reads {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }.
class HeaderParser {
public:
  HeaderParser(std::string_view text, NpyHeader &header)
      : text(text), header(header) {}

  void parse() {
    bool descr = false, order = false, shape = false;
    expect('{');
    while (!accept('}')) {
      std::string_view key = string();
      expect(':');
      if (key == "descr" && !descr) {
        descr = true;
        if (peek() == '[')
          throw Error("structured element types are not supported");
        parseType(string(), header);
      } else if (key == "fortran_order" && !order) {
        order = true;
        header.fortranOrder = boolean();
      } else if (key == "shape" && !shape) {
        shape = true;
        tuple();
      } else {
        malformed("a key is unknown or comes twice");
      }
      if (!accept(',') && peek() != '}')
        malformed("',' or '}' expected");
    }
    if (peek() != '\0' || position < text.size())
      malformed("text after the dictionary");
    if (!descr || !order || !shape)
      malformed("'descr', 'fortran_order' or 'shape' is missing");
  }

private:
  [[noreturn]] void malformed(const char *why) {
    throw Error(format("the array's header is malformed at byte %zu: %s",
                       position, why));
  }

  /// The next character that is no space, '\0' at the end.
  char peek() {
    while (position < text.size() && strchr(" \t\n\r", text[position]) &&
           text[position])
      ++position;
    return position < text.size() ? text[position] : '\0';
  }

  bool accept(char wanted) {
    if (peek() != wanted)
      return false;
    ++position;
    return true;
  }

  void expect(char wanted) {
    if (!accept(wanted))
      malformed("another character expected");
  }

  std::string_view string() {
    char quote = peek();
    if (quote != '\'' && quote != '"')
      malformed("a string expected");
    size_t end = text.find(quote, position + 1);
    if (end == std::string_view::npos)
      malformed("a string without an end");
    std::string_view result = text.substr(position + 1, end - position - 1);
    position = end + 1;
    return result;
  }

  bool boolean() {
    peek();
    for (const char *word : {"False", "True"}) {
      if (text.substr(position, strlen(word)) != word)
        continue;
      position += strlen(word);
      return *word == 'T';
    }
    malformed("True or False expected");
  }

  void tuple() {
    expect('(');
    while (!accept(')')) {
      if (header.rank == FERRITE_MAX_RANK)
        throw Error(
            format("arrays of more than %d dimensions are not supported",
                   FERRITE_MAX_RANK));
      header.shape[header.rank++] = integer();
      accept('L'); // written by Python 2
      if (!accept(',') && peek() != ')')
        malformed("',' or ')' expected");
    }
  }

  int64_t integer() {
    if (peek() < '0' || peek() > '9')
      malformed("a size of 0 or more expected");
    int64_t value = 0;
    for (; position < text.size() && text[position] >= '0' &&
           text[position] <= '9';
         ++position)
      if (__builtin_mul_overflow(value, 10, &value) ||
          __builtin_add_overflow(value, text[position] - '0', &value))
        malformed("a size beyond 64 bits");
    return value;
  }

  std::string_view text;
  NpyHeader &header;
  size_t position = 0;
};
} // namespace

NpyHeader parseNpyHeader(std::string_view prefix, uint64_t fileBytes) {
  constexpr std::string_view magic = "\x93NUMPY";
  if (prefix.substr(0, magic.size()) != magic || prefix.size() < 12)
    throw Error("not a NumPy array");
  auto byte = [&](size_t i) { return uint64_t(uint8_t(prefix[i])); };
  uint64_t major = byte(6), length = byte(8) | byte(9) << 8;
  NpyHeader header;
  header.headerBytes = 10;
  if (major == 2 || major == 3) {
    length |= byte(10) << 16 | byte(11) << 24;
    header.headerBytes = 12;
  } else if (major != 1) {
    throw Error(format("version %d of the array format is not supported",
                       static_cast<int>(major)));
  }
  if (length > prefix.size() - header.headerBytes)
    throw Error("the array's header is truncated or too long");
  HeaderParser(prefix.substr(header.headerBytes, length), header).parse();
  header.headerBytes += length;

  // A size of zero must not hide the overflow of the others.
  uint64_t bytes = ferriteDTypeSize(header.dtype);
  bool empty = false;
  for (int32_t i = 0; i < header.rank; ++i) {
    empty |= header.shape[i] == 0;
    if (header.shape[i] &&
        __builtin_mul_overflow(bytes, header.shape[i], &bytes))
      throw Error("the array's shape is beyond all memory");
  }
  header.dataBytes = empty ? 0 : bytes;
  if (header.dataBytes != fileBytes - header.headerBytes)
    throw Error(format(
        "the array's shape %s needs %llu bytes, but %llu are there",
        shapeString(header.rank, header.shape).c_str(),
        static_cast<unsigned long long>(header.dataBytes),
        static_cast<unsigned long long>(fileBytes - header.headerBytes)));
  return header;
}

std::string makeNpyHeader(int32_t dtype, int32_t rank, const int64_t *shape) {
  const char *code = nullptr;
  for (const TypeCode &row : typeCodes)
    if (row.dtype == dtype)
      code = row.code;
  if (!code)
    throw Error(format("elements of type %d cannot be written", dtype),
                FERRITE_COMPILE_BUG);
  // Single bytes have no order, and no more has a void type.
  bool ordered = ferriteDTypeSize(dtype) > 1 && dtype != FERRITE_BF16;
  std::string text = std::string("{'descr': '") + (ordered ? "<" : "|") + code +
                     "', 'fortran_order': False, 'shape': (";
  for (int32_t i = 0; i < rank; ++i)
    text += std::to_string(shape[i]) + (rank == 1 || i + 1 < rank ? "," : "") +
            (i + 1 < rank ? " " : "");
  text += "), }";
  text.append(63 - (10 + text.size()) % 64, ' ');
  text += '\n';
  std::string header = "\x93NUMPY";
  header += {'\1', '\0', static_cast<char>(text.size() & 255),
             static_cast<char>(text.size() >> 8)};
  return header + text;
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

static void swapBytes(Array &array) {
  size_t width = ferriteDTypeSize(array.dtype);
  auto *bytes = static_cast<char *>(array.data.get());
  for (uint64_t i = 0; i < array.bytes; i += width)
    for (size_t low = 0, high = width - 1; low < high; ++low, --high)
      std::swap(bytes[i + low], bytes[i + high]);
}

/// Walks the result in order; `source` follows with column-major strides.
static void toRowMajor(Array &array) {
  Array result;
  result.name = array.name;
  result.bytes = array.bytes;
  result.allocate();
  size_t width = ferriteDTypeSize(array.dtype);
  const char *from = static_cast<const char *>(array.data.get());
  char *to = static_cast<char *>(result.data.get());
  uint64_t strides[FERRITE_MAX_RANK], position[FERRITE_MAX_RANK] = {};
  uint64_t stride = width, source = 0;
  for (int32_t i = 0; i < array.rank; ++i) {
    strides[i] = stride;
    stride *= array.shape[i];
  }
  for (uint64_t i = 0; i < array.bytes; i += width) {
    memcpy(to + i, from + source, width);
    for (int32_t axis = array.rank - 1; axis >= 0; --axis) {
      source += strides[axis];
      if (++position[axis] < uint64_t(array.shape[axis]))
        break;
      source -= strides[axis] * array.shape[axis];
      position[axis] = 0;
    }
  }
  array.data = std::move(result.data);
}

void normalizeElements(Array &array, const NpyHeader &header) {
  if (!array.bytes)
    return;
  if (header.bigEndian)
    swapBytes(array);
  if (header.fortranOrder && array.rank > 1)
    toRowMajor(array);
}

} // namespace ferrite::cli
