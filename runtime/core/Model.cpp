//===- Model.cpp - Loading models -----------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "core/Model.h"
#include "core/Options.h"
#include "cuda/Device.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <new>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace ferrite::rt;

static FerriteModel *newModel() {
  void *memory = malloc(sizeof(FerriteModel));
  return memory ? new (memory) FerriteModel : nullptr;
}

static void deleteModel(FerriteModel *model) {
  releaseDevices(*model);
  if (model->mapping)
    munmap(model->mapping, model->mappingBytes);
  free(model->weightsPath);
  if (model->library)
    dlclose(model->library);
  if (model->memoryFile >= 0)
    close(model->memoryFile);
  model->~FerriteModel();
  free(model);
}

/// Everything after the table is found. Takes the model over: it is deleted on
/// failure.
static FerriteStatus finish(FerriteModel *model, const FerriteAbiModel *abi,
                            const FerriteModelOptions &options,
                            const char *folder, const char *what,
                            FerriteModel **result, FerriteError *error) {
  model->abi = abi;
  FerriteStatus status =
      checkHeader(abi->magic, abi->version, abi->size, what, error);
  if (!status)
    status = checkTables(*abi, what, error);
  if (!status)
    status = chooseLevel(*model, options, what, error);
  if (!status)
    status = findWeights(*model, options, folder, what, error);
  if (status)
    deleteModel(model);
  else
    *result = model;
  return status;
}

/// Loads the library `name` in `folder`. The system's loader takes two paths
/// that are spelled alike for the same library, even when the file was replaced
/// since, or the number of a descriptor was used again, and the first one is
/// still there: another session has it, or it was linked with nodelete. Spelled
/// in a new way, it looks at the file.
static void *loadLibrary(const char *folder, const char *name) {
  char path[PATH_MAX];
  int length = snprintf(path, sizeof path, "%s/%s", folder, name);
  if (length < 0 || static_cast<size_t>(length) >= sizeof path)
    return nullptr;
  void *loaded = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
  if (!loaded)
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
  dlclose(loaded);
  // "/./" is a one and "//" a zero of a number that was never used before.
  static std::atomic<uint32_t> spellings{0};
  Text spelling;
  for (uint32_t number = ++spellings; number; number >>= 1)
    spelling.add(number & 1 ? "./" : "/");
  length = snprintf(path, sizeof path, "%s/%s%s", folder, spelling.str(), name);
  if (length < 0 || static_cast<size_t>(length) >= sizeof path)
    return nullptr;
  return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

/// The model in a shared library, which was checked before.
static FerriteStatus openLibrary(FerriteModel *model, const char *folder,
                                 const char *name, const char *what,
                                 const FerriteAbiModel *&abi,
                                 FerriteError *error) {
  model->library = loadLibrary(folder, name);
  if (!model->library) {
    const char *reason = dlerror();
    return fail(error, FERRITE_INCOMPATIBLE, "%s cannot be loaded: %s", what,
                reason ? reason : "unknown reason");
  }
  abi = static_cast<const FerriteAbiModel *>(
      dlsym(model->library, FERRITE_MODEL_SYMBOL));
  if (!abi)
    return fail(error, FERRITE_INCOMPATIBLE, "%s has no symbol %s", what,
                FERRITE_MODEL_SYMBOL);
  return FERRITE_OK;
}

/// Maps `fd` for the check alone: only the headers' pages are ever read.
static FerriteStatus checkFile(int fd, const char *path, const char *what,
                               FerriteError *error) {
  struct stat info;
  if (fstat(fd, &info) != 0)
    return fail(error, FERRITE_IO, "cannot read '%s': %s", path,
                strerror(errno));
  if (!S_ISREG(info.st_mode))
    return fail(error, FERRITE_INCOMPATIBLE,
                "%s is not a Ferrite model: not a regular file", what);
  if (info.st_size == 0)
    return fail(error, FERRITE_INCOMPATIBLE,
                "%s is not a Ferrite model: the file is empty", what);
  size_t size = static_cast<size_t>(info.st_size);
  void *bytes = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (bytes == MAP_FAILED)
    return fail(error, FERRITE_IO, "cannot map '%s': %s", path,
                strerror(errno));
  FerriteStatus status =
      checkArtifact(static_cast<const uint8_t *>(bytes), size, what, error);
  munmap(bytes, size);
  return status;
}

/// Cuts an absolute path, in place, into its folder and the file's name: "/a"
/// and "b.so", or "" and "b.so" for "/b.so".
static const char *cutFileName(char *path) {
  char *slash = strrchr(path, '/');
  if (!slash)
    return path;
  *slash = 0;
  return slash + 1;
}

FerriteStatus ferriteModelLoadFile(const char *path,
                                   const FerriteModelOptions *given,
                                   FerriteModel **result, FerriteError *error) {
  if (!result)
    return fail(error, FERRITE_INVALID_ARGUMENT, "the model pointer is NULL");
  *result = nullptr;
  if (!path || !*path)
    return fail(error, FERRITE_INVALID_ARGUMENT, "the path is %s",
                path ? "empty" : "NULL");
  FerriteModelOptions options;
  if (FerriteStatus status =
          readOptions(given, options, "FerriteModelOptions", error))
    return status;
  Text what;
  what.add("'%s'", path);

  // A pipe that nobody writes would be waited for.
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return fail(error, errno == ENOENT ? FERRITE_NOT_FOUND : FERRITE_IO,
                "cannot open '%s': %s", path, strerror(errno));
  FerriteStatus status = checkFile(fd, path, what.str(), error);
  close(fd);
  if (status)
    return status;
  // A name without a slash would be searched for along the library path.
  char *real = realpath(path, nullptr);
  if (!real)
    return fail(error, FERRITE_IO, "cannot resolve '%s': %s", path,
                strerror(errno));
  FerriteModel *model = newModel();
  if (!model) {
    free(real);
    return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory loading '%s'",
                path);
  }
  const FerriteAbiModel *abi = nullptr;
  const char *name = cutFileName(real);
  status = openLibrary(model, real, name, what.str(), abi, error);
  if (status)
    deleteModel(model);
  else
    status = finish(model, abi, options, real, what.str(), result, error);
  free(real);
  return status;
}

/// An anonymous file with a copy of the bytes, or -1 with errno set.
static int copyToMemoryFile(const void *bytes, size_t size) {
  // 0x10 is MFD_EXEC: hardened kernels since 6.3 want it said, older ones
  // refuse the flag.
  int fd = memfd_create("ferrite-model", MFD_CLOEXEC | 0x10u);
  if (fd < 0 && errno == EINVAL)
    fd = memfd_create("ferrite-model", MFD_CLOEXEC);
  const char *next = static_cast<const char *>(bytes);
  while (fd >= 0 && size > 0) {
    ssize_t wrote = write(fd, next, size);
    if (wrote < 0 && errno == EINTR)
      continue;
    if (wrote <= 0) {
      int reason = errno;
      close(fd);
      errno = reason;
      return -1;
    }
    next += wrote;
    size -= static_cast<size_t>(wrote);
  }
  return fd;
}

FerriteStatus ferriteModelLoadMemory(const void *bytes, size_t size,
                                     const FerriteModelOptions *given,
                                     FerriteModel **result,
                                     FerriteError *error) {
  if (!result)
    return fail(error, FERRITE_INVALID_ARGUMENT, "the model pointer is NULL");
  *result = nullptr;
  if (!bytes)
    return fail(error, FERRITE_INVALID_ARGUMENT, "the bytes are NULL");
  FerriteModelOptions options;
  const char *what = "the model in memory";
  if (FerriteStatus status =
          readOptions(given, options, "FerriteModelOptions", error))
    return status;
  if (FerriteStatus status =
          checkArtifact(static_cast<const uint8_t *>(bytes), size, what, error))
    return status;
  FerriteModel *model = newModel();
  if (!model)
    return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory loading %s", what);
  model->memoryFile = copyToMemoryFile(bytes, size);
  if (model->memoryFile < 0) {
    int reason = errno;
    deleteModel(model);
    return fail(error, reason == ENOMEM ? FERRITE_OUT_OF_MEMORY : FERRITE_IO,
                "cannot make a file for %s: %s", what, strerror(reason));
  }
  char name[16];
  snprintf(name, sizeof name, "%d", model->memoryFile);
  const FerriteAbiModel *abi = nullptr;
  if (FerriteStatus status =
          openLibrary(model, "/proc/self/fd", name, what, abi, error)) {
    deleteModel(model);
    return status;
  }
  return finish(model, abi, options, ".", what, result, error);
}

FerriteStatus ferriteModelOpen(const FerriteAbiModel *abi,
                               const FerriteModelOptions *given,
                               FerriteModel **result, FerriteError *error) {
  if (!result)
    return fail(error, FERRITE_INVALID_ARGUMENT, "the model pointer is NULL");
  *result = nullptr;
  if (!abi)
    return fail(error, FERRITE_INVALID_ARGUMENT, "the table is NULL");
  FerriteModelOptions options;
  if (FerriteStatus status =
          readOptions(given, options, "FerriteModelOptions", error))
    return status;
  FerriteModel *model = newModel();
  if (!model)
    return fail(error, FERRITE_OUT_OF_MEMORY,
                "out of memory opening the linked model");
  char folder[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
  folder[length > 0 ? length : 0] = 0;
  cutFileName(folder);
  return finish(model, abi, options, *folder ? folder : ".", "the linked model",
                result, error);
}

FerriteModel *ferriteModelRetain(FerriteModel *model) {
  if (model)
    model->references.fetch_add(1, std::memory_order_relaxed);
  return model;
}

void ferriteModelRelease(FerriteModel *model) {
  if (model && model->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
    deleteModel(model);
}
