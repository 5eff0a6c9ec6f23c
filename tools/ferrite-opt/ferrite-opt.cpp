//===- ferrite-opt.cpp - mlir-opt with Ferrite's dialects and passes ------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The tool of the lit suite. `--ferrite-debug=a,b` prints the LDBG() lines of
// those debug types: the packaged LLVM has no --debug-only.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Ferrite.h"
#include "dialects/Plan/IR/Plan.h"
#include "lib/Pipelines/Pipelines.h"
#include "passes/Analysis/Passes.h"
#include "passes/Fusion/Passes.h"
#include "passes/Normalize/Passes.h"
#include "passes/Planning/Passes.h"
#include "passes/Quantization/Passes.h"
#include "passes/Select/Passes.h"
#include "passes/Sparsity/Passes.h"
#include "passes/Verify/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/Debug.h"

#include <string>
#include <vector>

static void enableDebugTypes(const std::string &type) {
  static std::vector<std::string> types; // setCurrentDebugTypes keeps pointers
  types.push_back(type);
  std::vector<const char *> names;
  for (const std::string &name : types)
    names.push_back(name.c_str());
  llvm::DebugFlag = true;
  llvm::setCurrentDebugTypes(names.data(), names.size());
}

static llvm::cl::list<std::string>
    debugTypes("ferrite-debug", llvm::cl::CommaSeparated,
               llvm::cl::desc("Print the debug lines of these types"),
               llvm::cl::cb<void, std::string>(enableDebugTypes));

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<ferrite::FerriteDialect, ferrite::plan::PlanDialect,
                  mlir::arith::ArithDialect, mlir::func::FuncDialect,
                  mlir::LLVM::LLVMDialect, mlir::math::MathDialect,
                  mlir::scf::SCFDialect, mlir::vector::VectorDialect>();
  mlir::registerTransformsPasses();
  ferrite::registerAnalysisPasses();
  ferrite::registerFusionPasses();
  ferrite::registerQuantizationPasses();
  ferrite::registerNormalizePasses();
  ferrite::registerPipelines();
  ferrite::registerPlanningPasses();
  ferrite::registerSelectPasses();
  ferrite::registerSparsityPasses();
  ferrite::registerVerifyPasses();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "Ferrite optimizer\n", registry));
}
