//===- ModelFile.h - A mapped ONNX model and its data files -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Opens a model without believing it: files are mapped read-only, the graph is
// parsed from a copy without weights (WireScanner.h), and each large or
// external tensor becomes a TensorSource, a checked range of a mapped file. No
// weight is ever copied to the heap.
//
// External data may not leave the model's folder: a location is a relative path
// without `..`. A link that lies in the folder may point elsewhere, because the
// person who put it there could as well have put the file; the location, which
// the model's author wrote, cannot name anything outside.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_MODELFILE_H
#define FERRITE_LIB_FRONTEND_ONNX_MODELFILE_H

#include "onnx/onnx_pb.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ferrite::frontend {

/// A file mapped for reading, for as long as the object lives.
class MappedFile {
public:
  static llvm::Expected<std::unique_ptr<MappedFile>>
  open(const std::string &path);
  ~MappedFile();
  MappedFile(const MappedFile &) = delete;
  MappedFile &operator=(const MappedFile &) = delete;

  llvm::StringRef bytes() const { return {data, size}; }
  const std::string &getPath() const { return path; }

private:
  MappedFile(std::string path, const char *data, size_t size)
      : path(std::move(path)), data(data), size(size) {}
  std::string path;
  const char *data;
  size_t size;
};

/// Where the elements of one tensor lie: densely, row-major, little-endian.
struct TensorSource {
  unsigned file = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  int32_t type = 0; // onnx::TensorProto::DataType
  llvm::SmallVector<int64_t, 4> dims;
};

class ModelFile {
public:
  /// Opens and parses; does not check the graph (see OnnxLibrary.h). The error
  /// is one line that names the file, and the tensor where there is one.
  static llvm::Expected<std::unique_ptr<ModelFile>>
  open(const std::string &path);

  onnx::ModelProto &getModel() { return model; }
  const std::string &getPath() const { return path; }

  /// File 0 is the model; the others are external data. `location` is the path
  /// relative to the model's folder.
  struct DataFile {
    std::string location;
    std::unique_ptr<MappedFile> file;
  };
  llvm::ArrayRef<DataFile> getFiles() const { return files; }

  /// The source of a tensor whose data is not in `tensor` itself, else null.
  const TensorSource *getSource(const onnx::TensorProto &tensor) const;
  /// The bytes of a source, in the mapped file.
  llvm::StringRef getBytes(const TensorSource &source) const;
  /// The elements of any tensor as dense little-endian bytes: those of a source
  /// lie in the mapped file, others are written to `storage`.
  llvm::Expected<llvm::StringRef> getElements(const onnx::TensorProto &tensor,
                                              std::string &storage) const;

  /// Makes every tensor without data of its own look empty to ONNX's checker,
  /// which would open files by itself, and makes it as before.
  void hideSources();
  void restoreSources();

private:
  llvm::Error resolve(llvm::ArrayRef<struct FileRange> ranges);
  llvm::Error resolveTensor(onnx::TensorProto &tensor,
                            llvm::ArrayRef<struct FileRange> ranges);
  llvm::Expected<unsigned> openData(llvm::StringRef tensor,
                                    llvm::StringRef location);

  std::string path;
  std::string folder;
  onnx::ModelProto model;
  std::vector<DataFile> files;
  llvm::StringMap<unsigned> fileOf;
  std::vector<TensorSource> sources;
  std::vector<onnx::TensorProto *> hidden;
};

/// A message is one line of limited length, whatever bytes a file calls a name.
std::string makePrintable(llvm::StringRef text);
/// Bits of an element, 0 when the type has no fixed size.
unsigned getElementBits(int32_t type);
/// "float16" for FLOAT16, and so on; "type 99" for what ONNX does not know.
std::string getTypeName(int32_t type);
/// Whether the standard knows the type, whatever Ferrite can do with it.
bool isStandardType(int32_t type);
/// The number of elements, or an error that names the tensor.
llvm::Expected<int64_t> countElements(const onnx::TensorProto &tensor);
/// Calls `visit` on every tensor of the model: initializers, attributes, in
/// subgraphs and functions.
void walkTensors(onnx::ModelProto &model,
                 llvm::function_ref<void(onnx::TensorProto &)> visit);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_MODELFILE_H
