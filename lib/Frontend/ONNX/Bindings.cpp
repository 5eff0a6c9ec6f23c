//===- Bindings.cpp - Inputs that become constants ------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Bindings.h"
#include "ferrite/abi.h"
#include "lib/Frontend/ONNX/ModelFile.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/StringExtras.h"

using llvm::createStringError;
using llvm::Error;
using llvm::StringRef;
using onnx::TensorProto;

namespace ferrite::frontend {
namespace {

/// The ONNX type of a FerriteDType; UNDEFINED for what has none.
int32_t getOnnxType(int32_t dtype) {
  switch (dtype) {
  case FERRITE_F32:
    return TensorProto::FLOAT;
  case FERRITE_F16:
    return TensorProto::FLOAT16;
  case FERRITE_BF16:
    return TensorProto::BFLOAT16;
  case FERRITE_F64:
    return TensorProto::DOUBLE;
  case FERRITE_I8:
    return TensorProto::INT8;
  case FERRITE_I16:
    return TensorProto::INT16;
  case FERRITE_I32:
    return TensorProto::INT32;
  case FERRITE_I64:
    return TensorProto::INT64;
  case FERRITE_U8:
    return TensorProto::UINT8;
  case FERRITE_U16:
    return TensorProto::UINT16;
  case FERRITE_U32:
    return TensorProto::UINT32;
  case FERRITE_U64:
    return TensorProto::UINT64;
  case FERRITE_BOOL:
    return TensorProto::BOOL;
  default:
    return TensorProto::UNDEFINED;
  }
}

bool isFloat(int32_t type) {
  return type == TensorProto::FLOAT || type == TensorProto::DOUBLE ||
         type == TensorProto::FLOAT16 || type == TensorProto::BFLOAT16;
}

bool isInteger(int32_t type) {
  switch (type) {
  case TensorProto::INT8:
  case TensorProto::INT16:
  case TensorProto::INT32:
  case TensorProto::INT64:
  case TensorProto::UINT8:
  case TensorProto::UINT16:
  case TensorProto::UINT32:
  case TensorProto::UINT64:
    return true;
  default:
    return false;
  }
}

/// Whether elements given as `given` are elements of `wanted`: the same type,
/// or the bytes of a type that has no FerriteDType.
bool canHold(int32_t given, int32_t wanted) {
  if (given == wanted)
    return true;
  bool isBytes = given == TensorProto::UINT8 || given == TensorProto::UINT16;
  return isBytes && !isInteger(wanted) && wanted != TensorProto::BOOL &&
         getElementBits(given) == getElementBits(wanted);
}

/// Appends the elements of one number; false where the type cannot have it.
bool appendNumber(StringRef word, int32_t type, std::string &bytes) {
  unsigned width = getElementBits(type) / 8;
  uint64_t bits = 0;
  if (isFloat(type)) {
    double number;
    if (word.getAsDouble(number))
      return false;
    llvm::APFloat value(number);
    bool lost;
    value.convert(type == TensorProto::FLOAT     ? llvm::APFloat::IEEEsingle()
                  : type == TensorProto::DOUBLE  ? llvm::APFloat::IEEEdouble()
                  : type == TensorProto::FLOAT16 ? llvm::APFloat::IEEEhalf()
                                                 : llvm::APFloat::BFloat(),
                  llvm::APFloat::rmNearestTiesToEven, &lost);
    bits = value.bitcastToAPInt().getZExtValue();
  } else if (type == TensorProto::BOOL) {
    if (word != "true" && word != "false" && word != "1" && word != "0")
      return false;
    bits = word == "true" || word == "1";
  } else if (isInteger(type)) {
    bool isUnsigned =
        type == TensorProto::UINT8 || type == TensorProto::UINT16 ||
        type == TensorProto::UINT32 || type == TensorProto::UINT64;
    if (isUnsigned) {
      if (word.getAsInteger(10, bits) || (width < 8 && bits >> (8 * width)))
        return false;
    } else {
      int64_t number;
      if (word.getAsInteger(10, number) || !llvm::isIntN(8 * width, number))
        return false;
      bits = static_cast<uint64_t>(number);
    }
  } else {
    return false;
  }
  bytes.append(reinterpret_cast<const char *>(&bits), width);
  return true;
}

class Binder {
public:
  Binder(const InputBinding &binding, const onnx::ValueInfoProto &input)
      : binding(binding), type(input.type().tensor_type()) {
    tensor.set_name(input.name());
    tensor.set_data_type(type.elem_type());
  }

  llvm::Expected<TensorProto> run() {
    Error error = binding.text ? fromText() : fromBytes();
    if (error)
      return std::move(error);
    return std::move(tensor);
  }

private:
  Error reject(const llvm::Twine &message) {
    return createStringError("input '" + makePrintable(tensor.name()) +
                             "' cannot be bound: " + message.str());
  }

  Error fromText() {
    StringRef text = StringRef(*binding.text).trim();
    if (text.consume_front("["))
      text.consume_back("]");
    llvm::SmallVector<StringRef> words;
    if (!text.trim().empty())
      text.split(words, ',');
    int64_t expected = 1;
    for (const auto &dim : type.shape().dim()) {
      // A list has one length: it is that of the only dim without a size.
      int64_t size = dim.has_dim_value()            ? dim.dim_value()
                     : type.shape().dim_size() == 1 ? int64_t(words.size())
                                                    : -1;
      if (size < 0 || size > 1 << 20)
        return reject("its shape is not known; give a .npy file");
      tensor.add_dims(size);
      expected *= size;
      if (expected > 1 << 20)
        return reject("it has too many elements; give a .npy file");
    }
    if (!type.has_shape())
      return reject("its shape is not known; give a .npy file");
    if (expected != static_cast<int64_t>(words.size()))
      return reject("it has " + llvm::Twine(expected) + " elements, but got " +
                    llvm::Twine(words.size()));
    std::string bytes;
    for (StringRef word : words)
      if (!appendNumber(word.trim(), type.elem_type(), bytes))
        return reject("'" + makePrintable(word.trim()) + "' is no " +
                      getTypeName(type.elem_type()));
    tensor.set_raw_data(std::move(bytes));
    return Error::success();
  }

  Error fromBytes() {
    int32_t given = getOnnxType(binding.dtype);
    if (!canHold(given, type.elem_type()))
      return reject("it has elements of " + getTypeName(type.elem_type()) +
                    ", but got " + getTypeName(given));
    if (type.has_shape()) {
      int rank = type.shape().dim_size();
      if (rank != static_cast<int>(binding.shape.size()))
        return reject("it has rank " + llvm::Twine(rank) +
                      ", but got an array of rank " +
                      llvm::Twine(binding.shape.size()));
      for (int i = 0; i < rank; ++i) {
        const auto &dim = type.shape().dim(i);
        if (dim.has_dim_value() && dim.dim_value() != binding.shape[i])
          return reject("its dim " + llvm::Twine(i) + " is " +
                        llvm::Twine(dim.dim_value()) + ", but got " +
                        llvm::Twine(binding.shape[i]));
      }
    }
    for (int64_t size : binding.shape)
      tensor.add_dims(size);
    llvm::Expected<int64_t> count = countElements(tensor);
    if (!count)
      return count.takeError();
    if (binding.bytes.size() !=
        static_cast<uint64_t>(*count) * (getElementBits(type.elem_type()) / 8))
      return reject("its elements do not fill its shape");
    tensor.set_raw_data(binding.bytes);
    return Error::success();
  }

  const InputBinding &binding;
  const onnx::TypeProto::Tensor &type;
  TensorProto tensor;
};

} // namespace

Error bindInputs(onnx::ModelProto &model,
                 llvm::ArrayRef<InputBinding> bindings) {
  onnx::GraphProto &graph = *model.mutable_graph();
  for (const InputBinding &binding : bindings) {
    auto *inputs = graph.mutable_input();
    auto input = llvm::find_if(*inputs, [&](const onnx::ValueInfoProto &each) {
      return each.name() == binding.name;
    });
    bool isGiven = llvm::any_of(graph.initializer(), [&](const auto &tensor) {
      return tensor.name() == binding.name;
    });
    if (input == inputs->end() || isGiven)
      return createStringError("no input is named '" +
                               makePrintable(binding.name) +
                               "', which --bind gives a value");
    if (!input->type().has_tensor_type())
      return createStringError("input '" + makePrintable(binding.name) +
                               "' cannot be bound: it is not a tensor");
    llvm::Expected<TensorProto> tensor = Binder(binding, *input).run();
    if (!tensor)
      return tensor.takeError();
    *graph.add_initializer() = std::move(*tensor);
    // What is an initializer alone is a constant in every IR version.
    inputs->erase(input);
  }
  return Error::success();
}

} // namespace ferrite::frontend
