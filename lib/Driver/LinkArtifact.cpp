//===- LinkArtifact.cpp - Objects and weights to an artifact --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/LinkArtifact.h"

#include "ferrite/Commit.h" // FERRITE_COMMIT, written by each build
#include "lib/Artifact/Link.h"
#include "lib/Artifact/WeightFile.h"
#include "lib/Driver/Quantize.h"
#include "lib/Driver/Summary.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace ferrite;

static std::string libraryHeader(StringRef name, StringRef symbol) {
  return ("/* The model '" + name +
          "', compiled by ferrite " FERRITE_VERSION
          ". Link the library beside this header and\n"
          " * libferrite_rt, and pass &" +
          symbol +
          " to ferriteModelOpen. */\n#pragma once\n"
          "#include \"ferrite/abi.h\"\n\n#ifdef __cplusplus\nextern "
          "\"C\"\n#else\nextern\n#endif\n"
          "const FerriteAbiModel " +
          symbol + ";\n")
      .str();
}

/// Above this the weights go to a file of their own (design.md section 7).
static constexpr int64_t kMostEmbeddedWeights = int64_t(1) << 30;

namespace {
class ArtifactLinker {
public:
  ArtifactLinker(ModuleOp plan, const DriverOptions &options,
                 const WorkFolder &work, Location loc, GeneratedCode &code,
                 CompileRecord &record)
      : plan(plan), options(options), work(work), loc(loc), code(code),
        record(record) {}

  LogicalResult run();

private:
  LogicalResult writeWeights();
  LogicalResult link(const std::string &out);
  LogicalResult keep();

  ModuleOp plan;
  const DriverOptions &options;
  const WorkFolder &work;
  Location loc;
  GeneratedCode &code;
  CompileRecord &record;
  HostProgramOptions host;
  SmallString<256> weightsPath; ///< empty: in the artifact
};
} // namespace

LogicalResult ArtifactLinker::writeWeights() {
  ModelFolder folder = openModelFolder(plan, options, record.sideFile);
  host.weightsBytes = record.weightsBytes = weightBytes(plan);
  bool toFile = options.weightsMode == FERRITE_WEIGHTS_FILE ||
                (options.weightsMode == FERRITE_WEIGHTS_AUTO &&
                 host.weightsBytes > kMostEmbeddedWeights);
  if (toFile) {
    weightsPath = options.weightsPath;
    if (weightsPath.empty()) {
      weightsPath = options.output;
      llvm::sys::path::replace_extension(weightsPath, ".weights");
    }
    if (llvm::sys::path::parent_path(weightsPath) !=
        llvm::sys::path::parent_path(options.output))
      return emitError(loc)
             << "weights file '" << weightsPath
             << "' does not lie in the folder of '" << options.output << "'";
    auto hash =
        writeWeightFile(plan, folder, work.file("weights"), options.threads);
    if (failed(hash))
      return failure();
    host.weightsHash = *hash;
    host.weightsFile = record.weightsFile =
        llvm::sys::path::filename(weightsPath).str();
    return success();
  }
  if (host.weightsBytes == 0)
    return success();
  host.weightsSymbol = host.symbol + ".weights";
  code.objects.push_back(work.file("weights.o"));
  return writeWeightObject(plan, folder, code.objects.back(),
                           host.weightsSymbol, *code.machine, options.threads);
}

LogicalResult ArtifactLinker::link(const std::string &out) {
  switch (options.emit) {
  case FERRITE_EMIT_SO:
    return linkShared(code.objects, out, loc);
  case FERRITE_EMIT_EXE:
    return linkExecutable(code.objects, out, *code.machine, loc);
  case FERRITE_EMIT_OBJ:
    return linkRelocatable(code.objects, out, loc);
  default:
    return writeLibrary(code.objects, out, loc);
  }
}

LogicalResult ArtifactLinker::keep() {
  if (!weightsPath.empty() && failed(work.keep("weights", weightsPath, loc)))
    return failure();
  if (options.emit == FERRITE_EMIT_STATIC) {
    SmallString<256> header(options.output);
    llvm::sys::path::replace_extension(header, ".h");
    if (failed(work.write("header", libraryHeader(options.name, host.symbol),
                          loc)) ||
        failed(work.keep("header", header, loc)))
      return failure();
  }
  return work.keep("out", options.output, loc);
}

LogicalResult ArtifactLinker::run() {
  bool alone =
      options.emit == FERRITE_EMIT_SO || options.emit == FERRITE_EMIT_EXE;
  host.symbol = alone ? FERRITE_MODEL_SYMBOL
                      : "ferrite_model_" + identifier(options.name);
  host.kernelNames = &*code.names;
  host.name = options.name;
  host.compiler = "ferrite " FERRITE_VERSION " (" FERRITE_COMMIT ")";
  host.levels = code.levels;
  host.machine = code.machine;
  host.cuda = std::move(code.cuda);
  host.scratchBytes = code.scratchBytes;
  host.listing = code.listing;
  if (failed(writeWeights()))
    return failure();
  llvm::raw_string_ostream(host.description) << llvm::json::Value(
      summarize(plan, options, record, SummaryKind::Description));
  FailureOr<SmallVector<char, 0>> object = makeHostProgram(plan, host);
  if (failed(object) ||
      failed(
          work.write("host.o", StringRef(object->data(), object->size()), loc)))
    return failure();
  code.objects.push_back(work.file("host.o"));
  std::string out = work.file("out");
  if (failed(link(out)))
    return failure();
  uint64_t bytes = 0;
  record.artifactBytes = llvm::sys::fs::file_size(out, bytes) ? 0 : bytes;
  return keep();
}

LogicalResult ferrite::linkArtifact(ModuleOp plan, const DriverOptions &options,
                                    const WorkFolder &work, Location loc,
                                    GeneratedCode &code,
                                    CompileRecord &record) {
  return ArtifactLinker(plan, options, work, loc, code, record).run();
}
