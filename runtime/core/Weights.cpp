//===- Weights.cpp - Weights in the artifact or in a file -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A weights file is mapped read-only and shared, so processes share its pages.
// Its size is always checked. Its hash is checked on request only: hashing
// reads every byte, which for 3 GB is a second when the file is cached and
// many when it is not, at each start of a process.
//
//===----------------------------------------------------------------------===//
#include "core/Model.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace ferrite::rt;

/// "<folder>/<name>" in memory of malloc.
static char *joinPath(const char *folder, const char *name) {
  size_t length = strlen(folder) + strlen(name) + 2;
  char *path = static_cast<char *>(malloc(length));
  if (path)
    snprintf(path, length, "%s/%s", folder, name);
  return path;
}

static FerriteStatus mapWeights(FerriteModel &model, int fd, const char *what,
                                FerriteError *error) {
  const char *path = model.weightsPath;
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
    return fail(error, FERRITE_IO, "the weights '%s' of %s are no file", path,
                what);
  uint64_t bytes = model.abi->weights_bytes;
  if (static_cast<uint64_t>(info.st_size) != bytes)
    return fail(error, FERRITE_INCOMPATIBLE,
                "the weights '%s' of %s have %lld bytes, expected %llu: they "
                "are truncated or of another compile",
                path, what, static_cast<long long>(info.st_size),
                static_cast<unsigned long long>(bytes));
  void *mapping = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (mapping == MAP_FAILED)
    return fail(error, errno == ENOMEM ? FERRITE_OUT_OF_MEMORY : FERRITE_IO,
                "cannot map the weights '%s': %s", path, strerror(errno));
  model.mapping = mapping;
  model.mappingBytes = bytes;
  model.weights = static_cast<const uint8_t *>(mapping);
  return FERRITE_OK;
}

static FerriteStatus verifyWeights(const FerriteModel &model, const char *what,
                                   FerriteError *error) {
  if (!model.abi->weights_hash)
    return fail(error, FERRITE_INCOMPATIBLE,
                "the weights '%s' cannot be verified: %s has no hash of them",
                model.weightsPath, what);
  XXH128_canonical_t found;
  XXH128_canonicalFromHash(
      &found, XXH3_128bits(model.weights, model.abi->weights_bytes));
  if (memcmp(found.digest, model.abi->weights_hash, sizeof found.digest) == 0)
    return FERRITE_OK;
  Text expected, got;
  for (unsigned char byte : found.digest)
    got.add("%02x", byte);
  for (size_t i = 0; i < sizeof found.digest; ++i)
    expected.add("%02x", model.abi->weights_hash[i]);
  return fail(error, FERRITE_INCOMPATIBLE,
              "the weights '%s' have the hash %s, but %s was compiled with %s",
              model.weightsPath, got.str(), what, expected.str());
}

FerriteStatus ferrite::rt::findWeights(FerriteModel &model,
                                       const FerriteModelOptions &options,
                                       const char *folder, const char *what,
                                       FerriteError *error) {
  const FerriteAbiModel &abi = *model.abi;
  if (abi.weights || abi.weights_bytes == 0) {
    model.weights = static_cast<const uint8_t *>(abi.weights);
    return FERRITE_OK;
  }
  // checkTables made sure that there is a name, and that it is a plain one.
  model.weightsPath = options.weights_path ? strdup(options.weights_path)
                                           : joinPath(folder, abi.weights_file);
  if (!model.weightsPath)
    return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory opening %s", what);
  // As for the artifact: a pipe is not waited for, and then refused.
  int fd = open(model.weightsPath, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return fail(error, errno == ENOENT ? FERRITE_NOT_FOUND : FERRITE_IO,
                "cannot open the weights '%s' of %s: %s", model.weightsPath,
                what, strerror(errno));
  FerriteStatus status = mapWeights(model, fd, what, error);
  close(fd);
  if (status)
    return status;
  const char *verify = getenv("FERRITE_VERIFY_WEIGHTS");
  if (options.verify_weights || (verify && strcmp(verify, "1") == 0))
    return verifyWeights(model, what, error);
  return FERRITE_OK;
}
