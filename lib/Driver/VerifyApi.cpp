//===- VerifyApi.cpp - ferriteVerify of the C API -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Compile.h"
#include "lib/Driver/DiagnosticSink.h"
#include "lib/Driver/Verify.h"
#include "lib/Driver/VerifyMetric.h"

#include <cstring>
#include <mutex>

using namespace mlir;
using namespace ferrite;

int32_t ferriteVerify(const FerriteVerifyOptions *options,
                      FerriteCompileResult *result) {
  static std::mutex mutex;
  std::lock_guard<std::mutex> lock(mutex);
  if (result)
    *result = {sizeof *result, FERRITE_COMPILE_USER_ERROR, 0, nullptr};
  if (!options || options->size != sizeof *options || !options->model ||
      !options->artifact) {
    // Only the first two fields may be read of a struct of another size.
    bool isKnown = options && options->size == sizeof *options;
    if (isKnown && options->diagnostic)
      options->diagnostic(options->diagnostic_data, FERRITE_SEVERITY_ERROR,
                          "a model and an artifact are needed");
    return FERRITE_COMPILE_USER_ERROR;
  }
  DialectRegistry registry;
  registerAll(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  context.printOpOnDiagnostic(false);
  DiagnosticSink sink(context, options->diagnostic, options->diagnostic_data);
  ImportSummary import;
  llvm::json::Object summary;
  LogicalResult verified =
      options->metric ? verifyMetric(context, *options, import, summary)
                      : verify(context, *options, import, summary);
  bool isUnsupported = import.limitations > 0 && import.faults == 0;
  int32_t status = succeeded(verified) ? FERRITE_COMPILE_OK
                   : sink.sawBug       ? FERRITE_COMPILE_BUG
                   : isUnsupported     ? FERRITE_COMPILE_UNSUPPORTED
                                       : FERRITE_COMPILE_USER_ERROR;
  if (result) {
    result->status = status;
    // Without values nothing was compared.
    if (summary.get("values")) {
      std::string text;
      llvm::raw_string_ostream(text) << llvm::json::Value(std::move(summary));
      result->summary = strdup(text.c_str());
    }
  }
  return status;
}
