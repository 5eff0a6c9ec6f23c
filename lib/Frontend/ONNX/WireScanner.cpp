//===- WireScanner.cpp - A model without its weights ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Driven by a table of the messages of onnx-ml.proto that can hold others. A
// field that is not in the table is copied as it is: the parser knows it, or it
// stays an unknown field.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/WireScanner.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"

using llvm::StringRef;

namespace ferrite::frontend {
namespace {

/// Parsed size that a file without its weights may reach. Graphs of large
/// language models stay below a tenth of it.
constexpr uint64_t kMaxParsedBytes = 256ull << 20;
/// Protobuf itself stops at 100; a nested graph is three messages deep.
constexpr unsigned kMaxDepth = 90;
/// More ops than any model we know has by a factor of five.
constexpr unsigned kMaxNodes = 400000;

enum Kind : uint8_t {
  Leaf, // a string, bytes, or a message that holds nothing we look into
  Drop, // documentation, and what only training needs
  Model,
  Graph,
  Node,
  Attribute,
  Tensor,
  SparseTensor,
  Function,
  ValueInfo,
  Type,
  TensorType,
  TypeWrapper,
  Shape,
  Entry
};

struct Field {
  Kind message;
  unsigned number;
  Kind kind;
};

/// Length-delimited fields of onnx-ml.proto by the message they are in.
constexpr Field kFields[] = {
    {Model, 6, Drop},
    {Model, 7, Graph},
    {Model, 8, Entry},
    {Model, 14, Entry},
    {Model, 20, Drop},
    {Model, 25, Function},
    {Graph, 1, Node},
    {Graph, 5, Tensor},
    {Graph, 10, Drop},
    {Graph, 11, ValueInfo},
    {Graph, 12, ValueInfo},
    {Graph, 13, ValueInfo},
    {Graph, 15, SparseTensor},
    {Graph, 16, Drop},
    {Node, 5, Attribute},
    {Node, 6, Drop},
    {Node, 9, Drop},
    {Attribute, 5, Tensor},
    {Attribute, 6, Graph},
    {Attribute, 10, Tensor},
    {Attribute, 11, Graph},
    {Attribute, 13, Drop},
    {Attribute, 14, Type},
    {Attribute, 15, Type},
    {Attribute, 22, SparseTensor},
    {Attribute, 23, SparseTensor},
    {Tensor, 12, Drop},
    {Tensor, 13, Entry},
    {Tensor, 16, Drop},
    {SparseTensor, 1, Tensor},
    {SparseTensor, 2, Tensor},
    {Function, 7, Node},
    {Function, 8, Drop},
    {Function, 9, Entry},
    {Function, 11, Attribute},
    {Function, 12, ValueInfo},
    {Function, 14, Drop},
    {ValueInfo, 2, Type},
    {ValueInfo, 3, Drop},
    {ValueInfo, 4, Drop},
    {Type, 1, TensorType},
    {Type, 4, TypeWrapper},
    {Type, 5, TypeWrapper},
    {Type, 8, TensorType},
    {Type, 9, TypeWrapper},
    {TensorType, 2, Shape},
    {TypeWrapper, 1, Type},
    {TypeWrapper, 2, Type},
    {Shape, 1, Entry},
};

/// Fields that protobuf calls strings. Its parser takes any bytes for one, but
/// names go to JSON and to artifacts, whose readers do not.
constexpr std::pair<Kind, unsigned> kStrings[] = {
    {Graph, 2},    {Node, 1},      {Node, 2},       {Node, 3},
    {Node, 4},     {Node, 7},      {Node, 8},       {Attribute, 1},
    {Tensor, 8},   {ValueInfo, 1}, {Attribute, 21}, {Entry, 1},
    {Entry, 2},    {Function, 1},  {Function, 4},   {Function, 5},
    {Function, 6}, {Function, 10}, {Function, 13}};

Kind kindOf(Kind message, unsigned number) {
  for (const Field &field : kFields)
    if (field.message == message && field.number == number)
      return field.kind;
  return Leaf;
}

/// Generous sizes of the parsed C++ objects, to be counted and not to be exact.
uint64_t parsedSize(Kind kind) {
  switch (kind) {
  case Graph:
  case Function:
  case Attribute:
    return 400;
  case Node:
  case Tensor:
  case SparseTensor:
    return 320;
  default:
    return 128;
  }
}

class Scanner {
public:
  explicit Scanner(StringRef file) : file(file) {}

  llvm::Expected<StrippedModel> run() {
    StrippedModel result;
    ranges = &result.ranges;
    if (!message(Model, file, 0, result.bytes))
      return llvm::createStringError(error);
    return std::move(result);
  }

private:
  uint64_t offsetOf(StringRef part) const { return part.data() - file.data(); }

  bool fail(StringRef at, StringRef what) {
    // Errors inside pass through every caller: the first is the true one.
    if (error.empty())
      error = llvm::formatv("is not a valid ONNX model: {0} at byte {1}", what,
                            offsetOf(at));
    return false;
  }

  /// A field longer than what is left around it. The graph is the last field of
  /// most models: when that one is too long, the file was cut off.
  bool tooLong(StringRef at, uint64_t length, uint64_t left) {
    // With its tag and length it takes up to 15 bytes before what is left.
    if (error.empty() && at.data() + 15 + left >= file.end())
      error = llvm::formatv(
          "is truncated or not an ONNX model: a field at byte {0} has {1} "
          "bytes, of which {2} are there",
          offsetOf(at), length, left);
    return fail(at, "a field is longer than its message");
  }

  bool charge(StringRef at, uint64_t bytes) {
    parsed += bytes;
    if (parsed <= kMaxParsedBytes)
      return true;
    error =
        llvm::formatv("is too large: its graph, without weights, needs more "
                      "than {0} MiB of memory",
                      kMaxParsedBytes >> 20);
    return false;
  }

  bool varint(StringRef &in, uint64_t &value) {
    StringRef start = in;
    value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      if (in.empty())
        return fail(start, "the file ends inside a number");
      auto byte = static_cast<uint8_t>(in.front());
      in = in.drop_front();
      value |= shift < 64 ? uint64_t(byte & 127) << shift : 0;
      if (byte < 128)
        return true;
    }
    return fail(start, "a number has more than 10 bytes");
  }

  static void writeVarint(std::string &out, uint64_t value) {
    for (; value >= 128; value >>= 7)
      out.push_back(static_cast<char>(value | 128));
    out.push_back(static_cast<char>(value));
  }
  static void writeBytes(std::string &out, unsigned number, StringRef bytes) {
    writeVarint(out, number << 3 | 2);
    writeVarint(out, bytes.size());
    out.append(bytes.data(), bytes.size());
  }

  /// Whether this field of a tensor is its data, densely as the target reads
  /// it.
  static bool isDenseData(unsigned number) {
    return number == 9 /*raw_data*/ || number == 4 /*float_data, packed*/ ||
           number == 10 /*double_data, packed*/;
  }
  static bool isPackedVarint(Kind message, unsigned number) {
    return (message == Tensor &&
            (number == 1 || number == 5 || number == 7 || number == 11)) ||
           (message == Attribute && number == 8);
  }

  bool message(Kind kind, StringRef in, unsigned depth, std::string &out) {
    if (depth > kMaxDepth)
      return fail(in, "messages nest too deeply");
    if (kind == Node && ++nodes > kMaxNodes) {
      error =
          llvm::formatv("is too large: it has more than {0} nodes", kMaxNodes);
      return false;
    }
    if (!charge(in, parsedSize(kind)))
      return false;
    // More than one piece of data: left to the parser, which joins them.
    bool large =
        kind == Tensor && in.size() > kSmallTensorBytes && countDense(in) == 1;
    while (!in.empty())
      if (!field(kind, in, depth, large, out))
        return false;
    return true;
  }

  bool field(Kind kind, StringRef &in, unsigned depth, bool large,
             std::string &out) {
    StringRef start = in;
    uint64_t tag, value;
    if (!varint(in, tag))
      return false;
    uint64_t number = tag >> 3;
    if (number == 0 || number > 0x1fffffff)
      return fail(start, "a field has an invalid number");
    switch (tag & 7) {
    case 0:
      if (!varint(in, value))
        return false;
      // Written out, it would come behind the EXTERNAL of the data (delimited).
      if (large && number == 14 /*data_location*/ && value == 0 /*DEFAULT*/)
        return charge(start, 16);
      break;
    case 1:
    case 5: {
      size_t size = (tag & 7) == 1 ? 8 : 4;
      if (in.size() < size)
        return fail(start, "the file ends inside a number");
      in = in.drop_front(size);
      break;
    }
    case 2:
      if (!varint(in, value))
        return false;
      if (value > in.size())
        return tooLong(start, value, in.size());
      in = in.drop_front(value);
      return delimited(kind, number, in.data() - value, value, start, depth,
                       large, out);
    default:
      return fail(start, "a field has an invalid wire type");
    }
    out.append(start.data(), start.size() - in.size());
    return charge(start, 16);
  }

  bool delimited(Kind kind, unsigned number, const char *data, uint64_t size,
                 StringRef start, unsigned depth, bool large,
                 std::string &out) {
    StringRef body(data, size);
    Kind child = kindOf(kind, number);
    if (child == Drop)
      return true;
    if (child != Leaf) {
      std::string inner;
      if (!message(child, body, depth + 1, inner))
        return false;
      writeBytes(out, number, inner);
      return true;
    }
    if (llvm::is_contained(kStrings, std::pair(kind, number)) &&
        !llvm::json::isUTF8(body))
      return fail(start, "a name is not UTF-8");
    if (large && isDenseData(number)) {
      ranges->push_back({offsetOf(body), size});
      std::string entry;
      writeBytes(entry, 1, kInlineDataKey);
      writeBytes(entry, 2, std::to_string(ranges->size() - 1));
      writeBytes(out, 13 /*external_data*/, entry);
      writeVarint(out, 14 << 3 /*data_location*/);
      writeVarint(out, 1 /*EXTERNAL*/);
      return charge(start, 256);
    }
    out.append(start.data(), body.end() - start.data());
    return charge(start,
                  isPackedVarint(kind, number) ? 8 * size + 32 : size + 64);
  }

  /// How many dense data fields a tensor has, as far as it is well-formed.
  unsigned countDense(StringRef in) {
    Scanner probe(file);
    unsigned count = 0;
    while (!in.empty()) {
      uint64_t tag, value;
      if (!probe.varint(in, tag))
        break;
      if ((tag & 7) == 0) {
        if (!probe.varint(in, value))
          break;
        continue;
      }
      uint64_t size = (tag & 7) == 1 ? 8 : 4;
      if ((tag & 7) == 2 && !probe.varint(in, size))
        break;
      if (size > in.size())
        break;
      // Unpacked elements of float_data count too: they cannot be referred to.
      count += isDenseData(tag >> 3);
      in = in.drop_front(size);
    }
    return count;
  }

  StringRef file;
  std::vector<FileRange> *ranges = nullptr;
  std::string error;
  uint64_t parsed = 0;
  unsigned nodes = 0;
};

} // namespace

llvm::Expected<StrippedModel> stripModel(StringRef file) {
  return Scanner(file).run();
}

} // namespace ferrite::frontend
