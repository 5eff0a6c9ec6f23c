# One precompiled header for all that includes MLIR: parsing MLIR's headers is
# most of a file's compile time. Included after the targets are made.
set(pch_headers
  <algorithm> <cstdint> <functional> <memory> <optional> <string> <vector>
  <llvm/ADT/DenseMap.h> <llvm/ADT/MapVector.h> <llvm/ADT/STLExtras.h>
  <llvm/ADT/SetVector.h> <llvm/ADT/SmallVector.h> <llvm/ADT/StringExtras.h>
  <llvm/ADT/StringMap.h> <llvm/ADT/TypeSwitch.h> <llvm/Support/raw_ostream.h>
  <mlir/Dialect/Arith/IR/Arith.h> <mlir/Dialect/Func/IR/FuncOps.h>
  <mlir/Dialect/LLVMIR/LLVMDialect.h> <mlir/Dialect/Math/IR/Math.h>
  <mlir/Dialect/SCF/IR/SCF.h> <mlir/Dialect/Vector/IR/VectorOps.h>
  <mlir/IR/Builders.h> <mlir/IR/BuiltinAttributes.h> <mlir/IR/BuiltinOps.h>
  <mlir/IR/BuiltinTypes.h> <mlir/IR/Diagnostics.h> <mlir/IR/Matchers.h>
  <mlir/IR/MLIRContext.h> <mlir/IR/OpImplementation.h>
  <mlir/IR/PatternMatch.h> <mlir/Interfaces/InferTypeOpInterface.h>
  <mlir/Interfaces/SideEffectInterfaces.h> <mlir/Pass/Pass.h>
  <mlir/Transforms/GreedyPatternRewriteDriver.h>)

# ferrite_targets(<result> <folder>): the targets made in it and below it.
function(ferrite_targets result folder)
  get_property(found DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
  get_property(folders DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
  foreach(child ${folders})
    ferrite_targets(below ${child})
    list(APPEND found ${below})
  endforeach()
  set(${result} ${found} PARENT_SCOPE)
endfunction()

file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/pch/empty.cpp CONTENT "")
# ferrite_reuse_pch(<name> <targets> <options>): the header compiled once with
# the options, for all the targets, which get them too.
function(ferrite_reuse_pch name targets options)
  add_library(${name} OBJECT ${PROJECT_BINARY_DIR}/pch/empty.cpp)
  foreach(target ${name} ${targets})
    target_compile_options(${target} PRIVATE ${options} -Xclang
      -fno-pch-timestamp)
  endforeach()
  target_precompile_headers(${name} PRIVATE ${pch_headers})
  foreach(target ${targets})
    target_precompile_headers(${target} REUSE_FROM ${name})
  endforeach()
endfunction()

# Nothing of ours throws. What calls ONNX's library catches what that throws,
# and goes without; so does that library, which includes no MLIR, and the
# reference evaluator, which has an optimisation level of its own.
set(libraries)
foreach(part dialects passes lib)
  ferrite_targets(targets ${PROJECT_SOURCE_DIR}/${part})
  foreach(target ${targets})
    get_target_property(type ${target} TYPE)
    if(type MATCHES "OBJECT_LIBRARY|STATIC_LIBRARY|SHARED_LIBRARY" AND
        NOT target MATCHES "onnx|Onnx|FerriteReference")
      list(APPEND libraries ${target})
    endif()
  endforeach()
endforeach()
ferrite_reuse_pch(ferrite_pch "${libraries}" -fno-exceptions)

if(TARGET ferrite-import-fuzz)
  # Instrumented alike; its header is made only when it is.
  target_precompile_headers(ferrite-import-fuzz PRIVATE ${pch_headers})
  target_compile_options(ferrite-import-fuzz PRIVATE -Xclang -fno-pch-timestamp)
endif()

if(FERRITE_ENABLE_TESTS)
  set(programs)
  foreach(program artifact codegen frontend planning)
    list(APPEND programs ferrite-${program}-tests)
  endforeach()
  ferrite_reuse_pch(ferrite_test_pch "${programs}" -fPIE)
endif()
