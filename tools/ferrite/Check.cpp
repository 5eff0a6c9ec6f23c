//===- Check.cpp - ferrite check ------------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"
#include "CompilerLibrary.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>

namespace ferrite::cli {

namespace {
struct CheckOptions {
  std::string model;
  std::vector<std::string> dims, bind;
  bool json = false;
};
} // namespace

static int checkModel(const CheckOptions &options) {
  std::vector<std::string> names;
  std::vector<FerriteDimBounds> dims = parseDims(options.dims, names);
  Bindings bindings(options.bind);
  Reporter reporter(Reporter::Progress::None);
  FerriteCheckOptions call = {};
  call.size = sizeof call;
  call.model = options.model.c_str();
  call.dims = dims.data();
  call.dim_count = dims.size();
  call.bindings = bindings.data();
  call.binding_count = bindings.size();
  call.diagnostic = Reporter::onDiagnostic;
  call.diagnostic_data = &reporter;
  const CompilerLibrary &library = openCompiler();
  Result result(library);
  int exitCode = reporter.finish(library.check(&call, &result));
  nlohmann::ordered_json summary = result.summary();
  if (options.json)
    printf("%s\n", summary.dump().c_str());
  else if (exitCode)
    printf("%s: %zu problem%s\n", options.model.c_str(), reporter.errorCount(),
           reporter.errorCount() == 1 ? "" : "s");
  else
    printf("%s: no problems in %lld nodes\n", options.model.c_str(),
           static_cast<long long>(summary.value("onnx_nodes", 0)));
  return exitCode;
}

void addCheck(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App *command = app.add_subcommand(
      "check", "List everything that keeps a model from compiling");
  command->add_option("MODEL", options->model, "an .onnx file")->required();
  command
      ->add_option("--dim", options->dims,
                   "NAME=1..512 or NAME=8, as for compile")
      ->allow_extra_args(false);
  addBindOption(*command, options->bind);
  command->add_flag("--json", options->json, "print one JSON object");
  command->footer("Example:\n"
                  "  ferrite check model.onnx\n");
  command->callback([options, &exitCode] { exitCode = checkModel(*options); });
}

} // namespace ferrite::cli
