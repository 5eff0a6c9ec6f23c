//===- OpsTest.h - Runs a function in the reference evaluator ---*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_UNIT_REFERENCE_OPSTEST_H
#define FERRITE_TEST_UNIT_REFERENCE_OPSTEST_H

#include "lib/Reference/Evaluator.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

namespace ferrite::reference {

using namespace mlir;

class OpsTest : public testing::Test {
protected:
  OpsTest() {
    registry.insert<FerriteDialect, func::FuncDialect>();
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  static Tensor floats(ArrayRef<int64_t> shape, ArrayRef<double> values,
                       Kind kind = Kind::F32) {
    Tensor tensor = *Tensor::make(kind, shape);
    for (auto [i, value] : llvm::enumerate(values))
      tensor.setNumber(i, value);
    return tensor;
  }
  static Tensor integers(ArrayRef<int64_t> shape, ArrayRef<int64_t> values,
                         Kind kind = Kind::I64) {
    Tensor tensor = *Tensor::make(kind, shape);
    for (auto [i, value] : llvm::enumerate(values))
      tensor.setInteger(i, value);
    return tensor;
  }

  /// The one result of the function, as doubles; empty when it fails.
  std::vector<double> run(StringRef text, ArrayRef<Tensor> inputs) {
    ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
      message += diagnostic.str();
      return success();
    });
    auto module = parseSourceString<ModuleOp>(text, ParserConfig(&context));
    if (!module)
      return {};
    SmallVector<Tensor> outputs;
    ModelFolder folder(".");
    seen.clear();
    auto observe = [&](Value, const Tensor &tensor) {
      seen.push_back(tensor.count());
      return success();
    };
    if (failed(evaluate(*module->getOps<func::FuncOp>().begin(), inputs, folder,
                        observe, outputs, 2)))
      return {};
    std::vector<double> result(outputs[0].count());
    outputs[0].readAll(0, outputs[0].count(), result.data());
    shape.assign(outputs[0].shape().begin(), outputs[0].shape().end());
    return result;
  }

  using Values = std::vector<double>;
  DialectRegistry registry;
  MLIRContext context;
  std::string message;
  std::vector<int64_t> seen, shape;
};

} // namespace ferrite::reference
#endif // FERRITE_TEST_UNIT_REFERENCE_OPSTEST_H
