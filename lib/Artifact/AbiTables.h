//===- AbiTables.h - Constant tables as an object file ----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// C's structs, arrays and strings as LLVM constants. A layout is noted beside
// C's size of it, and compared before the object is emitted: a change of abi.h
// that is forgotten in the compiler stops every compile.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_ARTIFACT_ABITABLES_H
#define FERRITE_LIB_ARTIFACT_ABITABLES_H

#include "passes/Codegen/CPU/CpuLevel.h"

#include "mlir/IR/Location.h"
#include "mlir/Support/LLVM.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"

#include <vector>

namespace ferrite {

class AbiTables {
public:
  using Constants = std::vector<llvm::Constant *>;

  AbiTables(llvm::StringRef name, const cpu::CpuMachine &machine);

  llvm::Constant *c64(int64_t value) {
    return llvm::ConstantInt::get(i64, value, true);
  }
  llvm::Constant *c32(int32_t value) {
    return llvm::ConstantInt::get(i32, value, true);
  }
  llvm::Constant *null() { return llvm::ConstantPointerNull::get(pointer); }
  llvm::Constant *string(llvm::StringRef text);
  /// An array of equal records; null when there is none.
  llvm::Constant *table(llvm::StringRef name, const Constants &rows);
  /// Packs fields as C does: their natural alignment is their size.
  llvm::Constant *record(const Constants &fields) {
    return llvm::ConstantStruct::getAnon(context, fields);
  }
  /// A function of another object of the artifact.
  llvm::Function *function(llvm::StringRef name, llvm::FunctionType *type);

  /// `row` is a struct that C gives `size` bytes.
  void noteLayout(llvm::Constant *row, size_t size) {
    layouts.push_back({row->getType(), size});
  }
  /// Object code of all that was made.
  mlir::FailureOr<llvm::SmallVector<char, 0>> emit(mlir::Location loc);

  llvm::LLVMContext context;
  llvm::Module module;
  llvm::PointerType *pointer;
  llvm::Type *i64, *i32;

private:
  const cpu::CpuMachine &machine;
  llvm::StringMap<llvm::Constant *> strings;
  std::vector<std::pair<llvm::Type *, size_t>> layouts;
};

} // namespace ferrite
#endif // FERRITE_LIB_ARTIFACT_ABITABLES_H
