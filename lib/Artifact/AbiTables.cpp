//===- AbiTables.cpp - Constant tables as an object file ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Artifact/AbiTables.h"

#include "lib/Target/CPU/Compile.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"

using namespace mlir;
using namespace ferrite;

AbiTables::AbiTables(StringRef name, const cpu::CpuMachine &machine)
    : module(name, context), machine(machine) {
  pointer = llvm::PointerType::get(context, 0);
  i64 = llvm::Type::getInt64Ty(context);
  i32 = llvm::Type::getInt32Ty(context);
  module.setTargetTriple(llvm::Triple(machine.triple));
  module.setDataLayout(machine.dataLayout);
  module.setPICLevel(llvm::PICLevel::BigPIC);
}

llvm::Constant *AbiTables::string(StringRef text) {
  llvm::Constant *&known = strings[text];
  if (known)
    return known;
  llvm::Constant *data = llvm::ConstantDataArray::getString(context, text);
  auto *global = new llvm::GlobalVariable(
      module, data->getType(), true, llvm::GlobalValue::PrivateLinkage, data);
  global->setUnnamedAddr(llvm::GlobalValue::UnnamedAddr::Global);
  return known = global;
}

llvm::Constant *AbiTables::table(StringRef name, const Constants &rows) {
  if (rows.empty())
    return null();
  auto *type = llvm::ArrayType::get(rows.front()->getType(), rows.size());
  auto *global = new llvm::GlobalVariable(
      module, type, true, llvm::GlobalValue::PrivateLinkage,
      llvm::ConstantArray::get(type, rows), name);
  global->setAlignment(llvm::Align(8));
  return global;
}

llvm::Function *AbiTables::function(StringRef name, llvm::FunctionType *type) {
  auto *callee =
      cast<llvm::Function>(module.getOrInsertFunction(name, type).getCallee());
  // In the artifact itself: no relocation by name.
  callee->setVisibility(llvm::GlobalValue::HiddenVisibility);
  return callee;
}

FailureOr<SmallVector<char, 0>> AbiTables::emit(Location loc) {
  for (auto [type, size] : layouts)
    if (module.getDataLayout().getTypeAllocSize(type) != size)
      return emitError(loc,
                       "bug: a table of the artifact does not match abi.h");
  cpu::registerTargets();
  llvm::TargetOptions targetOptions;
  std::string error;
  llvm::Triple triple(machine.triple);
  const llvm::Target *target =
      llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return emitError(loc, "bug: no target for the host program: ") << error;
  std::unique_ptr<llvm::TargetMachine> emitter(target->createTargetMachine(
      triple, machine.baselineCpu, "", targetOptions, llvm::Reloc::PIC_,
      std::nullopt, llvm::CodeGenOptLevel::Less));
  SmallVector<char, 0> object;
  llvm::raw_svector_ostream stream(object);
  llvm::legacy::PassManager passes;
  if (emitter->addPassesToEmitFile(passes, stream, nullptr,
                                   llvm::CodeGenFileType::ObjectFile))
    return emitError(loc, "bug: the host program cannot be emitted");
  passes.run(module);
  return object;
}
