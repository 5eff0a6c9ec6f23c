//===- Compile.cpp - From kernel modules to object code -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The last step of the CPU path. Our kernels are written with the registers
// they shall use, so LLVM's vectorizers and its unroller of long loops are off:
// they would only guess at what the emitters know. All else of -O3 is wanted:
// folding of addresses, invariant code motion, register allocation.
//
// Nothing here is static but LLVM's own target registry; one call uses one
// LLVMContext, so calls may run in parallel.
//
//===----------------------------------------------------------------------===//
#include "lib/Target/CPU/Compile.h"

#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/LLVMCommon/ConversionTarget.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVM.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/Transforms/Passes.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/DialectConversion.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/Utils/Cloning.h"

#include <mutex>

using namespace mlir;
using namespace ferrite::cpu;

void ferrite::cpu::registerTranslations(DialectRegistry &registry) {
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
}

static LogicalResult lowerToLLVMDialect(ModuleOp module) {
  MLIRContext *context = module.getContext();
  {
    RewritePatternSet patterns(context);
    populateSCFToControlFlowConversionPatterns(patterns);
    ConversionTarget target(*context);
    target.addIllegalDialect<scf::SCFDialect>();
    target.markUnknownOpDynamicallyLegal([](Operation *) { return true; });
    if (failed(applyPartialConversion(module, target, std::move(patterns))))
      return failure();
  }
  LLVMTypeConverter converter(context);
  RewritePatternSet patterns(context);
  arith::populateArithToLLVMConversionPatterns(converter, patterns);
  cf::populateControlFlowToLLVMConversionPatterns(converter, patterns);
  populateMathToLLVMConversionPatterns(converter, patterns);
  populateVectorToLLVMConversionPatterns(converter, patterns);
  LLVMConversionTarget target(*context);
  target.addLegalOp<ModuleOp>();
  return applyFullConversion(module, target, std::move(patterns));
}

/// Gives each function a DISubprogram, without which locations are dropped.
static LogicalResult addSubprograms(ModuleOp module) {
  LLVM::DIScopeForLLVMFuncOpPassOptions options;
  options.emissionKind = LLVM::DIEmissionKind::LineTablesOnly;
  PassManager passes(module.getContext());
  passes.addPass(LLVM::createDIScopeForLLVMFuncOpPass(options));
  return passes.run(module);
}

void ferrite::cpu::registerTargets() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
  });
}

static std::unique_ptr<llvm::TargetMachine>
makeTargetMachine(const CpuLevel &level, unsigned optLevel,
                  std::string &error) {
  registerTargets();
  llvm::Triple triple(level.machine->triple);
  const llvm::Target *target =
      llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return nullptr;
  llvm::TargetOptions options;
  options.FunctionSections = true; // lets the linker drop unused kernels
  auto codegenLevel = llvm::CodeGenOpt::getLevel(optLevel);
  return std::unique_ptr<llvm::TargetMachine>(target->createTargetMachine(
      triple, level.cpu, level.targetFeatures, options, llvm::Reloc::PIC_,
      llvm::CodeModel::Small,
      codegenLevel.value_or(llvm::CodeGenOptLevel::Default)));
}

static void optimize(llvm::Module &module, llvm::TargetMachine &machine,
                     unsigned optLevel) {
  llvm::PipelineTuningOptions tuning;
  tuning.LoopInterleaving = false;
  tuning.LoopVectorization = false;
  tuning.SLPVectorization = false;
  tuning.LoopUnrolling = false;
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager callGraph;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder passes(&machine, tuning);
  passes.registerModuleAnalyses(modules);
  passes.registerCGSCCAnalyses(callGraph);
  passes.registerFunctionAnalyses(functions);
  passes.registerLoopAnalyses(loops);
  passes.crossRegisterProxies(loops, functions, callGraph, modules);
  llvm::OptimizationLevel level = optLevel >= 3   ? llvm::OptimizationLevel::O3
                                  : optLevel == 2 ? llvm::OptimizationLevel::O2
                                                  : llvm::OptimizationLevel::O1;
  if (optLevel == 0)
    passes.buildO0DefaultPipeline(llvm::OptimizationLevel::O0)
        .run(module, modules);
  else
    passes.buildPerModuleDefaultPipeline(level).run(module, modules);
}

/// Code generation changes the module: it gets a copy unless it is the last.
static LogicalResult emit(ModuleOp module, llvm::Module &llvmModule,
                          llvm::TargetMachine &machine,
                          llvm::CodeGenFileType type,
                          llvm::raw_pwrite_stream &stream) {
  llvm::legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, stream, nullptr, type))
    return module.emitError("LLVM cannot emit this kind of file");
  passes.run(llvmModule);
  return success();
}

FailureOr<CompiledObject> ferrite::cpu::compile(ModuleOp module,
                                                const CpuLevel &level,
                                                const CompileOptions &options) {
  OwningOpRef<ModuleOp> copy(cast<ModuleOp>(module->clone()));
  if (failed(lowerToLLVMDialect(*copy)))
    return module.emitError("kernels do not lower to the llvm dialect");
  if (options.lineTables && failed(addSubprograms(*copy)))
    return failure();

  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> llvmModule =
      translateModuleToLLVMIR(*copy, context, "ferrite");
  if (!llvmModule)
    return module.emitError("kernels do not translate to LLVM IR");

  std::string error;
  auto machine = makeTargetMachine(level, options.optLevel, error);
  if (!machine)
    return module.emitError("no code generator for ")
           << level.machine->triple << ": " << error;
  llvmModule->setTargetTriple(llvm::Triple(level.machine->triple));
  llvmModule->setDataLayout(machine->createDataLayout());
  llvmModule->setPICLevel(llvm::PICLevel::BigPIC);
  // A kernel is a leaf: without a frame of its own, profilers that follow frame
  // pointers lose its caller, which names the launch.
  if (options.lineTables)
    for (llvm::Function &function : *llvmModule)
      function.addFnAttr("frame-pointer", "all");
  optimize(*llvmModule, *machine, options.optLevel);

  CompiledObject result;
  if (options.llvmIR) {
    llvm::raw_string_ostream stream(result.llvmIR);
    llvmModule->print(stream, nullptr);
  }
  if (options.assembly) {
    std::unique_ptr<llvm::Module> asmModule = llvm::CloneModule(*llvmModule);
    llvm::SmallVector<char, 0> text;
    llvm::raw_svector_ostream stream(text);
    if (failed(emit(module, *asmModule, *machine,
                    llvm::CodeGenFileType::AssemblyFile, stream)))
      return failure();
    result.assembly.assign(text.begin(), text.end());
  }
  if (options.object) {
    llvm::raw_svector_ostream stream(result.object);
    if (failed(emit(module, *llvmModule, *machine,
                    llvm::CodeGenFileType::ObjectFile, stream)))
      return failure();
  }
  return result;
}
