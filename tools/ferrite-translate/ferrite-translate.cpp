//===- ferrite-translate.cpp - Between ONNX and MLIR ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The tool of the importer's tests, which are models in ONNX's textual syntax:
//
//   ferrite-translate --assemble-onnx model.txt -o model.onnx
//   ferrite-translate --import-onnx model.onnx
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Import.h"
#include "lib/Frontend/ONNX/OnnxLibrary.h"
#include "mlir/IR/AsmState.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace llvm;

enum class Action { Import, Assemble };

static cl::opt<Action> action(
    cl::desc("What to do:"), cl::Required,
    cl::values(clEnumValN(Action::Import, "import-onnx",
                          "Print a model as MLIR"),
               clEnumValN(Action::Assemble, "assemble-onnx",
                          "Write a model given in ONNX's textual syntax")));
static cl::opt<std::string> input(cl::Positional, cl::Required,
                                  cl::desc("INPUT"));
static cl::opt<std::string> output("o", cl::init("-"),
                                   cl::desc("The file to write"));
static cl::opt<bool>
    collectAll("all-errors",
               cl::desc("Report every node that cannot be imported"));
static cl::list<std::string> dims("dim",
                                  cl::desc("NAME=MIN..MAX or NAME=SIZE"));

static int fail(const Twine &message) {
  errs() << "error: " << message << '\n';
  return 1;
}

static int assemble(raw_ostream &out) {
  auto text = MemoryBuffer::getFile(input, /*IsText=*/true);
  if (!text)
    return fail("cannot read '" + input + "': " + text.getError().message());
  onnx::ModelProto model;
  if (Error error = ferrite::frontend::parseText((*text)->getBuffer(), model))
    return fail(toString(std::move(error)));
  std::string bytes;
  model.SerializePartialToString(&bytes);
  out << bytes;
  return 0;
}

static bool parseDim(StringRef text, ferrite::ImportOptions &options) {
  auto [name, range] = text.split('=');
  auto [low, high] = range.split("..");
  auto &bounds = options.dims[name];
  if (low.getAsInteger(10, bounds.first))
    return false;
  bounds.second = bounds.first;
  return high.empty() || !high.getAsInteger(10, bounds.second);
}

static int import(raw_ostream &out) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  mlir::ScopedDiagnosticHandler handler(
      &context, [](mlir::Diagnostic &diagnostic) {
        errs() << (diagnostic.getSeverity() == mlir::DiagnosticSeverity::Error
                       ? "error: "
                       : "note: ")
               << diagnostic << '\n';
        return mlir::success();
      });
  ferrite::ImportOptions options;
  options.collectAll = collectAll;
  for (const std::string &dim : dims)
    if (!parseDim(dim, options))
      return fail("--dim=" + dim + " is not NAME=MIN..MAX or NAME=SIZE");
  auto module = ferrite::importOnnxModel(&context, input, options);
  if (mlir::failed(module))
    return 1;
  mlir::OpPrintingFlags flags;
  (*module)->print(out, flags);
  return 0;
}

int main(int argc, char **argv) {
  InitLLVM init(argc, argv);
  mlir::registerAsmPrinterCLOptions();
  cl::ParseCommandLineOptions(argc, argv,
                              "Between ONNX and Ferrite's dialects\n");
  std::error_code error;
  ToolOutputFile file(output, error, sys::fs::OF_None);
  if (error)
    return fail("cannot write '" + output + "': " + error.message());
  int status =
      action == Action::Import ? import(file.os()) : assemble(file.os());
  if (status == 0)
    file.keep();
  return status;
}
