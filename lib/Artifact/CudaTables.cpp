//===- CudaTables.cpp - GPU code in the tables of an artifact -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Artifact/CudaTables.h"

#include "ferrite/abi.h"

using namespace mlir;
using namespace ferrite;

static llvm::Constant *makeVariant(AbiTables &t,
                                   const cuda::CudaVariant &variant) {
  AbiTables::Constants grid, maps;
  for (const cuda::GridStep &step : variant.grid)
    grid.push_back(t.record({t.c64(step.kind), t.c64(step.value)}));
  for (const cuda::TensorMap &map : variant.maps) {
    maps.push_back(t.record({t.c32(map.argument), t.c32(map.elementBytes),
                             t.c64(map.rowArgument), t.c64(map.rowCount),
                             t.c64(map.columns), t.c64(map.rowBytes),
                             t.c32(map.boxRows), t.c32(map.boxColumns)}));
    t.noteLayout(maps.back(), sizeof(FerriteAbiTensorMap));
  }
  llvm::Constant *row = t.record(
      {t.string(variant.symbol), t.table("grid", grid), t.table("maps", maps),
       t.c64(variant.guard), t.c64(variant.most), t.c32(grid.size()),
       t.c32(maps.size()), t.c32(variant.threads), t.c32(variant.sharedBytes),
       t.c32(variant.blocksPerSm), t.c32(0)});
  t.noteLayout(row, sizeof(FerriteAbiCudaVariant));
  return row;
}

llvm::Constant *ferrite::makeCudaCode(AbiTables &t, const CudaImage &image,
                                      ArrayRef<unsigned> kernelOfThunk) {
  AbiTables::Constants rows;
  for (const cuda::CudaKernel &kernel : image.kernels) {
    AbiTables::Constants variants;
    for (const cuda::CudaVariant &variant : kernel.variants)
      variants.push_back(makeVariant(t, variant));
    rows.push_back(
        t.record({t.table("variants", variants), t.c64(variants.size())}));
    t.noteLayout(rows.back(), sizeof(FerriteAbiCudaKernel));
  }
  // A launch that has a frame of its own on the CPU has its kernel here.
  for (unsigned kernel : kernelOfThunk)
    rows.push_back(rows[kernel]);
  auto *bytes = llvm::ConstantDataArray::getString(t.context, image.cubin,
                                                   image.arch->isPtx);
  auto *data = new llvm::GlobalVariable(t.module, bytes->getType(), true,
                                        llvm::GlobalValue::PrivateLinkage,
                                        bytes, "cubin." + image.arch->name);
  data->setAlignment(llvm::Align(64));
  llvm::Constant *row =
      t.record({t.string(image.arch->name), t.c32(image.arch->major),
                t.c32(image.arch->minor),
                t.c32(image.arch->isPtx   ? FERRITE_CUDA_PTX
                      : image.arch->exact ? FERRITE_CUDA_EXACT
                                          : FERRITE_CUDA_MAJOR),
                t.c32(0), data, t.c64(image.cubin.size() + image.arch->isPtx),
                t.table("cuda_kernels", rows)});
  t.noteLayout(row, sizeof(FerriteAbiCudaCode));
  return row;
}
