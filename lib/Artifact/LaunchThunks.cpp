//===- LaunchThunks.cpp - A function around each launch -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Artifact/LaunchThunks.h"

#include "passes/Codegen/CPU/CpuLevel.h"

#include "llvm/BinaryFormat/Dwarf.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace ferrite;

LaunchThunks::LaunchThunks(AbiTables &tables, const PlanListing &listing)
    : tables(tables), listing(listing), debug(tables.module) {
  file = debug.createFile(llvm::sys::path::filename(listing.path),
                          llvm::sys::path::parent_path(listing.path));
  debug.createCompileUnit(llvm::DISourceLanguageName(llvm::dwarf::DW_LANG_C11),
                          file, "ferrite", /*isOptimized=*/true, "", 0, "",
                          llvm::DICompileUnit::LineTablesOnly);
  tables.module.addModuleFlag(llvm::Module::Warning, "Debug Info Version",
                              llvm::DEBUG_METADATA_VERSION);
}

llvm::Function *LaunchThunks::make(plan::LaunchOp launch,
                                   const cpu::CpuLevel &level,
                                   llvm::Function *kernel) {
  std::string node = nodeSymbol(launch.getLoc());
  if (node.empty())
    node = launch.getKernel().str() + ".launch";
  std::string name = node + "." + level.name.str();
  auto *thunk = llvm::Function::Create(kernel->getFunctionType(),
                                       llvm::GlobalValue::InternalLinkage, name,
                                       tables.module);
  // A frame of its own: profilers that follow frame pointers see it, too.
  thunk->addFnAttr("frame-pointer", "all");
  thunk->addFnAttr("disable-tail-calls", "true");
  thunk->addFnAttr(llvm::Attribute::NoInline);
  thunk->setUWTableKind(llvm::UWTableKind::Default);
  unsigned line = listing.launchLines[index];
  llvm::DISubprogram *scope = debug.createFunction(
      file, name, name, file, line,
      debug.createSubroutineType(debug.getOrCreateTypeArray({})), line,
      llvm::DINode::FlagZero, llvm::DISubprogram::SPFlagDefinition);
  thunk->setSubprogram(scope);
  llvm::IRBuilder<> builder(
      llvm::BasicBlock::Create(tables.context, "entry", thunk));
  builder.SetCurrentDebugLocation(
      llvm::DILocation::get(tables.context, line, 1, scope));
  SmallVector<llvm::Value *> arguments;
  for (llvm::Argument &argument : thunk->args())
    arguments.push_back(&argument);
  llvm::CallInst *call = builder.CreateCall(kernel, arguments);
  call->setTailCallKind(llvm::CallInst::TCK_NoTail);
  builder.CreateRetVoid();
  return thunk;
}
