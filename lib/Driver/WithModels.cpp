//===- WithModels.cpp - Several models in one artifact --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Each model is imported by itself; its functions get the model's name. From
// there on all are one module: equal kernels are one, and so are equal weights
// of one file. Sources of weights are named by the model whose folder they lie
// in.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Ferrite.h"
#include "lib/Artifact/SourceReader.h"
#include "lib/Driver/Compile.h"
#include "lib/Driver/Quantize.h"
#include "passes/Fusion/MakeStepParts.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace ferrite;

/// The sources of another model's weights, so that they are told apart.
static void renameSources(ModuleOp module, StringRef model) {
  AttrTypeReplacer replacer;
  replacer.addReplacement([&](SourceAttr source) -> Attribute {
    return SourceAttr::get(
        source.getContext(), ModelFolder::nameIn(model, source.getFile()),
        source.getOffset(), source.getShape(), source.getType(),
        source.getPerm(), source.getDequant(), source.getPitch());
  });
  replacer.recursivelyReplaceElementsIn(module, /*replaceAttrs=*/true);
}

static LogicalResult addModel(const DriverOptions &options,
                              const std::string &name, const std::string &path,
                              ModuleOp module, ImportSummary &summary,
                              Location loc) {
  ImportOptions import; // sizes and bindings are of the first model's inputs
  import.lastLogits = options.import.lastLogits;
  auto imported = importOnnxModel(module.getContext(), path, import, &summary);
  if (failed(imported))
    return failure();
  renameSources(**imported, name);
  SymbolTable table(module);
  for (auto func : llvm::to_vector((*imported)->getOps<func::FuncOp>())) {
    std::string entry =
        func.getName() == "main" ? name : name + "_" + func.getName().str();
    if (table.lookup(entry))
      return emitError(loc) << "two entries would be named '" << entry << "'";
    func->remove();
    func.setName(entry);
    func->setAttr(kModelPrefixAttr, StringAttr::get(module.getContext(), name));
    table.insert(func);
  }
  return success();
}

LogicalResult ferrite::addModels(const DriverOptions &options, ModuleOp module,
                                 ImportSummary &summary, Location loc) {
  Builder builder(module.getContext());
  SmallVector<NamedAttribute> paths;
  for (const auto &[name, path] : options.withModels) {
    if (failed(addModel(options, name, path, module, summary, loc)))
      return failure();
    paths.push_back(builder.getNamedAttr(name, builder.getStringAttr(path)));
  }
  if (!paths.empty())
    module->setAttr(kModelPathsAttr, builder.getDictionaryAttr(paths));
  return success();
}

void ferrite::addModelFolders(ModelFolder &folder, ModuleOp module) {
  if (auto others = module->getAttrOfType<DictionaryAttr>(kModelPathsAttr))
    for (NamedAttribute other : others)
      if (auto path = dyn_cast<StringAttr>(other.getValue()))
        folder.addFolder(other.getName(),
                         llvm::sys::path::parent_path(path.getValue()));
}

ModelFolder ferrite::openModelFolder(ModuleOp module,
                                     const DriverOptions &options,
                                     StringRef sideFile) {
  auto path = module->getAttrOfType<StringAttr>(kModelPathAttr);
  ModelFolder folder(llvm::sys::path::parent_path(
      path ? path.getValue() : StringRef(options.model)));
  if (auto name = module->getAttrOfType<StringAttr>(kSideFileAttr))
    folder.add(name.getValue(), sideFile);
  addModelFolders(folder, module);
  return folder;
}
