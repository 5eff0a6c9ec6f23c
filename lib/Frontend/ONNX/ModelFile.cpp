//===- ModelFile.cpp - A mapped ONNX model and its data files -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/ModelFile.h"
#include "lib/Frontend/ONNX/WireScanner.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <google/protobuf/stubs/logging.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using llvm::createStringError;
using llvm::Error;
using llvm::Expected;
using llvm::formatv;
using llvm::StringRef;
using onnx::TensorProto;

namespace ferrite::frontend {
namespace {

/// The key of a resolved tensor, with its index into the list of sources.
constexpr llvm::StringLiteral kSourceKey = "ferrite.source";

template <typename... Args>
Error makeError(const char *format, Args &&...args) {
  return createStringError(formatv(format, std::forward<Args>(args)...).str());
}

StringRef findExternal(const TensorProto &tensor, StringRef key) {
  for (const auto &entry : tensor.external_data())
    if (entry.key() == key)
      return entry.value();
  return {};
}

std::string describe(const TensorProto &tensor) {
  return tensor.name().empty() ? "a tensor without a name"
                               : "tensor '" + tensor.name() + "'";
}

} // namespace

std::string makePrintable(StringRef text) {
  std::string out;
  for (char c : text.take_front(1000))
    out.push_back(
        llvm::isPrint(c) || static_cast<unsigned char>(c) >= 128 ? c : '?');
  // A path may be anything, and the cut may be inside a character.
  return llvm::json::isUTF8(out) ? out : llvm::json::fixUTF8(out);
}

//===----------------------------------------------------------------------===//
// MappedFile
//===----------------------------------------------------------------------===//

Expected<std::unique_ptr<MappedFile>>
MappedFile::open(const std::string &path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return makeError("cannot open '{0}': {1}", path, std::strerror(errno));
  struct stat info;
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return makeError("cannot read '{0}': not a regular file", path);
  }
  auto size = static_cast<size_t>(info.st_size);
  void *data = nullptr;
  if (size != 0) {
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      int error = errno;
      ::close(fd);
      return makeError("cannot map '{0}': {1}", path, std::strerror(error));
    }
  }
  ::close(fd);
  return std::unique_ptr<MappedFile>(
      new MappedFile(path, static_cast<const char *>(data), size));
}

MappedFile::~MappedFile() {
  if (size != 0)
    ::munmap(const_cast<char *>(data), size);
}

//===----------------------------------------------------------------------===//
// ModelFile
//===----------------------------------------------------------------------===//

Expected<std::unique_ptr<ModelFile>> ModelFile::open(const std::string &path) {
  // Protobuf prints what we report ourselves.
  google::protobuf::SetLogHandler(nullptr);

  auto mapped = MappedFile::open(path);
  if (!mapped)
    return mapped.takeError();
  auto result = std::make_unique<ModelFile>();
  result->path = path;
  result->folder = llvm::sys::path::parent_path(path).str();
  if (result->folder.empty())
    result->folder = ".";
  StringRef bytes = (*mapped)->bytes();
  result->files.push_back(
      {llvm::sys::path::filename(path).str(), std::move(*mapped)});
  if (bytes.empty())
    return makeError("'{0}' is empty", path);

  Expected<StrippedModel> stripped = stripModel(bytes);
  if (!stripped)
    return makeError("'{0}' {1}", path, llvm::toString(stripped.takeError()));
  if (stripped->bytes.size() > INT32_MAX ||
      !result->model.ParseFromArray(stripped->bytes.data(),
                                    static_cast<int>(stripped->bytes.size())))
    return makeError(
        "'{0}' is not a valid ONNX model: its fields cannot be parsed", path);
  // Any bytes that look like fields parse; a model has a graph and a version.
  if (!result->model.has_graph() || result->model.ir_version() <= 0)
    return makeError(
        "'{0}' is not an ONNX model: it has no graph or no IR version", path);
  if (Error error = result->resolve(stripped->ranges))
    return makeError("'{0}': {1}", path, llvm::toString(std::move(error)));
  return std::move(result);
}

Error ModelFile::resolve(llvm::ArrayRef<FileRange> ranges) {
  Error error = Error::success();
  walkTensors(model, [&](TensorProto &tensor) {
    if (!error && tensor.data_location() == TensorProto::EXTERNAL)
      error = resolveTensor(tensor, ranges);
  });
  return error;
}

Error ModelFile::resolveTensor(TensorProto &tensor,
                               llvm::ArrayRef<FileRange> ranges) {
  std::string name = describe(tensor);
  Expected<int64_t> count = countElements(tensor);
  if (!count)
    return count.takeError();
  unsigned bits = getElementBits(tensor.data_type());
  if (bits == 0)
    return makeError("{0} has large or external data of {1}, which has no "
                     "fixed size",
                     name, getTypeName(tensor.data_type()));
  // Cannot overflow: countElements bounds the product by 2^48.
  uint64_t expected = llvm::divideCeil(static_cast<uint64_t>(*count) * bits, 8);

  TensorSource source;
  source.type = tensor.data_type();
  source.dims.assign(tensor.dims().begin(), tensor.dims().end());
  source.bytes = expected;

  // A forged key can only name a range of the model file itself.
  StringRef inlined = findExternal(tensor, kInlineDataKey);
  if (!inlined.empty()) {
    uint64_t index;
    if (inlined.getAsInteger(10, index) || index >= ranges.size())
      return makeError("{0} has malformed external data", name);
    source.offset = ranges[index].offset;
    if (ranges[index].length != expected)
      return makeError(
          "{0} has {1} bytes of data, but its shape and type need {2}", name,
          ranges[index].length, expected);
  } else {
    StringRef location = findExternal(tensor, "location");
    Expected<unsigned> file = openData(name, location);
    if (!file)
      return file.takeError();
    source.file = *file;
    uint64_t size = files[*file].file->bytes().size();
    uint64_t length = expected;
    StringRef offsetText = findExternal(tensor, "offset");
    if (!offsetText.empty() && offsetText.getAsInteger(10, source.offset))
      return makeError(
          "{0} has external data at offset '{1}', which is no number", name,
          offsetText);
    StringRef lengthText = findExternal(tensor, "length");
    if (!lengthText.empty() && lengthText.getAsInteger(10, length))
      return makeError(
          "{0} has external data of length '{1}', which is no number", name,
          lengthText);
    if (length != expected)
      return makeError(
          "{0} has external data of {1} bytes, but its shape and type "
          "need {2}",
          name, length, expected);
    if (source.offset > size || length > size - source.offset)
      return makeError(
          "{0} needs bytes {1} to {2} of '{3}', which has only {4}", name,
          source.offset, source.offset + length, location, size);
  }

  tensor.clear_external_data();
  auto *entry = tensor.add_external_data();
  entry->set_key(kSourceKey.str());
  entry->set_value(std::to_string(sources.size()));
  sources.push_back(std::move(source));
  return Error::success();
}

Expected<unsigned> ModelFile::openData(StringRef tensor, StringRef location) {
  if (location.empty())
    return makeError("{0} has external data without a location", tensor);
  auto found = fileOf.find(location);
  if (found != fileOf.end())
    return found->second;

  if (location.contains('\0') || llvm::sys::path::is_absolute(location))
    return makeError(
        "{0} has external data at '{1}', which is not a relative path", tensor,
        location);
  for (auto part = llvm::sys::path::begin(location),
            end = llvm::sys::path::end(location);
       part != end; ++part)
    if (*part == "..")
      return makeError(
          "{0} has external data at '{1}', outside the model's folder", tensor,
          location);
  llvm::SmallString<128> full(folder);
  llvm::sys::path::append(full, location);
  auto mapped = MappedFile::open(std::string(full));
  if (!mapped)
    return makeError("{0} has its data in '{1}', but: {2}", tensor, location,
                     llvm::toString(mapped.takeError()));
  unsigned index = files.size();
  files.push_back({location.str(), std::move(*mapped)});
  fileOf[location] = index;
  return index;
}

const TensorSource *ModelFile::getSource(const TensorProto &tensor) const {
  size_t index;
  if (tensor.data_location() != TensorProto::EXTERNAL ||
      findExternal(tensor, kSourceKey).getAsInteger(10, index) ||
      index >= sources.size())
    return nullptr;
  return &sources[index];
}

StringRef ModelFile::getBytes(const TensorSource &source) const {
  return files[source.file].file->bytes().substr(source.offset, source.bytes);
}

void ModelFile::hideSources() {
  walkTensors(model, [&](TensorProto &tensor) {
    if (!getSource(tensor))
      return;
    hidden.push_back(&tensor);
    tensor.clear_dims();
    tensor.add_dims(0);
    tensor.set_data_location(TensorProto::DEFAULT);
  });
}

void ModelFile::restoreSources() {
  for (TensorProto *tensor : hidden) {
    tensor->set_data_location(TensorProto::EXTERNAL);
    const TensorSource *source = getSource(*tensor);
    tensor->clear_dims();
    for (int64_t dim : source->dims)
      tensor->add_dims(dim);
  }
  hidden.clear();
}

} // namespace ferrite::frontend
