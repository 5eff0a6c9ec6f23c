//===- ImportFuzz.cpp - Arbitrary bytes as an ONNX model ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A libFuzzer target: whatever the bytes, the importer makes a valid module or
// says why not. Crashes, assertions, hangs and memory beyond libFuzzer's limit
// are what it looks for.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Import.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

using namespace ferrite;

namespace {
/// A folder with the model, which is only in memory, and 64 bytes of data.
class Folder {
public:
  Folder() {
    char name[] = "/tmp/ferrite-import-fuzz-XXXXXX";
    path = mkdtemp(name);
    file = memfd_create("model.onnx", MFD_CLOEXEC);
    std::string target = "/proc/self/fd/" + std::to_string(file);
    if (file < 0 || symlink(target.c_str(), model().c_str()) != 0)
      abort();
    FILE *data = fopen((path + "/data.bin").c_str(), "w");
    for (int i = 0; i < 64; ++i)
      fputc(0, data);
    fclose(data);
  }
  ~Folder() {
    unlink(model().c_str());
    unlink((path + "/data.bin").c_str());
    rmdir(path.c_str());
  }
  std::string model() const { return path + "/model.onnx"; }
  void write(const uint8_t *bytes, size_t size) {
    if (ftruncate(file, 0) != 0 ||
        pwrite(file, bytes, size, 0) != static_cast<ssize_t>(size))
      abort();
  }

private:
  std::string path;
  int file = -1;
};
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static Folder folder;
  // Types and attributes stay in their context: a new one now and then.
  static std::unique_ptr<mlir::MLIRContext> context;
  static unsigned runs = 0;
  if (runs++ % 500 == 0)
    context = std::make_unique<mlir::MLIRContext>(
        mlir::MLIRContext::Threading::DISABLED);
  folder.write(bytes, size);
  unsigned errors = 0;
  mlir::ScopedDiagnosticHandler handler(
      context.get(), [&](mlir::Diagnostic &diagnostic) {
        errors += diagnostic.getSeverity() == mlir::DiagnosticSeverity::Error;
        std::string text = diagnostic.str();
        // A verifier's message: the importer made what it should not.
        if (llvm::StringRef(text).starts_with("'ferrite."))
          abort();
        return mlir::success();
      });
  ImportOptions options;
  options.collectAll = size % 2; // as `check` does, and as `compile`
  ImportSummary summary;
  auto module =
      importOnnxModel(context.get(), folder.model(), options, &summary);
  // A refusal says why, and only a refusal does.
  if (mlir::failed(module) != (errors != 0))
    abort();
  return 0;
}
