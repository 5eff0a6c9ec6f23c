//===- FakeDriver.cpp - The driver API on a machine without a GPU ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A library with the functions of libcuda.so.1 that the runtime calls, for
// FERRITE_LIBCUDA. A "cubin" is a library that fake-nvcc compiled; device
// memory is memory of its own range, which the runtime cannot read by mistake
// without a fault: each allocation is followed by a page that is not there. A
// launch is checked against the limits of the architecture that
// FERRITE_FAKE_SM names (80, 90; 90 without it), then run by Emulation.cpp.
//
// It is longer than 400 lines because it is all of one API, whose parts share
// the table of allocations.
//
//===----------------------------------------------------------------------===//
#include "Emulation.h"

#include <dlfcn.h>
#include <map>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <vector>

namespace {

enum {
  Success = 0,
  InvalidValue = 1,
  OutOfMemory = 2,
  NotFound = 500,
  LaunchFailed = 719
};

struct Function {
  void (*code)();
  int threads, parameters;
  int sharedLimit = 48 << 10;
  FerriteMachine **machine;
};

struct Module {
  void *library;
  std::map<std::string, Function> functions;
};

std::map<uintptr_t, size_t> allocations;

/// Device memory is there while the device works: who touches it else dies of
/// that.
void expose(bool is) {
  static const size_t page = size_t(sysconf(_SC_PAGESIZE));
  for (auto [address, bytes] : allocations) {
    uintptr_t begin = address / page * page,
              end = (address + bytes + page - 1) / page * page;
    mprotect(reinterpret_cast<void *>(begin), end - begin,
             is ? PROT_READ | PROT_WRITE : PROT_NONE);
  }
}
struct Exposed {
  Exposed() { expose(true); }
  ~Exposed() { expose(false); }
};

int stickyError; ///< as after a fault on a GPU: all that follows fails

int architecture() {
  const char *given = getenv("FERRITE_FAKE_SM");
  return given ? atoi(given) : 90;
}

int sharedPerBlock() {
  switch (architecture()) {
  case 80:
    return 163 << 10;
  case 86:
  case 89:
    return 99 << 10;
  default:
    return 227 << 10;
  }
}

bool isDevice(uint64_t pointer, size_t bytes) {
  auto after = allocations.upper_bound(pointer);
  if (after == allocations.begin())
    return false;
  --after;
  return pointer + bytes <= after->first + after->second;
}

} // namespace

extern "C" {

int cuInit(unsigned) { return Success; }
int cuDriverGetVersion(int *version) { return *version = 13000, Success; }
int cuDeviceGetCount(int *count) { return *count = 2, Success; }
int cuDeviceGet(int *device, int ordinal) { return *device = ordinal, Success; }
int cuDeviceGetName(char *name, int length, int) {
  snprintf(name, size_t(length), "a CPU that plays sm_%d", architecture());
  return Success;
}
int cuDeviceGetAttribute(int *value, int attribute, int) {
  switch (attribute) {
  case 16:
    *value = 4; // multiprocessors: few, so that grids loop
    return Success;
  case 75:
    *value = architecture() / 10;
    return Success;
  case 76:
    *value = architecture() % 10;
    return Success;
  case 97:
    *value = sharedPerBlock();
    return Success;
  }
  return InvalidValue;
}
int cuDevicePrimaryCtxRetain(void **context, int) {
  static int one;
  return *context = &one, Success;
}
int cuDevicePrimaryCtxRelease_v2(int) { return Success; }
int cuCtxPushCurrent_v2(void *) { return Success; }
int cuCtxPopCurrent_v2(void **) { return Success; }

/// The image has no length: it is an ELF file, whose headers say it.
int cuModuleLoadData(void **module, const void *image) {
  const auto *bytes = static_cast<const unsigned char *>(image);
  if (memcmp(bytes,
             "\x7f"
             "ELF",
             4) != 0)
    return 200;
  uint64_t sections;
  uint16_t size, count;
  memcpy(&sections, bytes + 40, 8);
  memcpy(&size, bytes + 58, 2);
  memcpy(&count, bytes + 60, 2);
  size_t length = sections + size_t(size) * count;
  int file = memfd_create("fake.cubin", MFD_CLOEXEC);
  for (size_t at = 0; at < length;) {
    ssize_t written = write(file, bytes + at, length - at);
    if (written <= 0)
      return OutOfMemory;
    at += size_t(written);
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  close(file);
  if (!library) {
    fprintf(stderr, "fake driver: %s\n", dlerror());
    return 200;
  }
  auto *made = new Module;
  made->library = library;
  return *module = made, Success;
}
int cuModuleUnload(void *module) {
  auto *made = static_cast<Module *>(module);
  dlclose(made->library);
  delete made;
  return Success;
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
  auto *of = static_cast<Module *>(module);
  std::string text = name;
  void *code = dlsym(of->library, name);
  auto *threads =
      static_cast<int *>(dlsym(of->library, (text + "_threads").c_str()));
  auto *parameters =
      static_cast<int *>(dlsym(of->library, (text + "_parameters").c_str()));
  auto *machine =
      static_cast<FerriteMachine **>(dlsym(of->library, "ferriteMachine"));
  if (!code || !threads || !parameters || !machine)
    return NotFound;
  Function &made = of->functions[text];
  made.code = reinterpret_cast<void (*)()>(code);
  made.threads = *threads;
  made.parameters = *parameters;
  made.machine = machine;
  return *function = &made, Success;
}
int cuFuncSetAttribute(void *function, int attribute, int value) {
  if (attribute != 8 || value > sharedPerBlock())
    return InvalidValue;
  static_cast<Function *>(function)->sharedLimit = value;
  return Success;
}

int cuMemAlloc_v2(unsigned long long *pointer, size_t bytes) {
  size_t page = size_t(sysconf(_SC_PAGESIZE));
  size_t whole = (bytes + page - 1) / page * page;
  void *memory = mmap(nullptr, whole + page, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, whole, PROT_READ | PROT_WRITE))
    return OutOfMemory;
  // Ends at the missing page as closely as 256 bytes allow, which is how the
  // real one is aligned. What lies there is nothing in particular.
  memset(memory, 0xff, whole);
  size_t shift = (whole - bytes) / 256 * 256;
  auto address = reinterpret_cast<uintptr_t>(memory) + shift;
  mprotect(memory, whole, PROT_NONE);
  allocations[address] = bytes;
  return *pointer = address, Success;
}
int cuMemFree_v2(unsigned long long pointer) {
  auto found = allocations.find(pointer);
  if (found == allocations.end())
    return InvalidValue;
  size_t page = size_t(sysconf(_SC_PAGESIZE));
  size_t whole = (found->second + page - 1) / page * page;
  munmap(reinterpret_cast<void *>(pointer / page * page -
                                  (whole - found->second) / 256 * 256 / page *
                                      page),
         whole + page);
  allocations.erase(found);
  return Success;
}
int cuMemcpyHtoDAsync_v2(unsigned long long to, const void *from, size_t bytes,
                         void *) {
  if (!isDevice(to, bytes))
    return InvalidValue;
  Exposed exposed;
  memcpy(reinterpret_cast<void *>(to), from, bytes);
  return Success;
}
int cuMemcpyDtoHAsync_v2(void *to, unsigned long long from, size_t bytes,
                         void *) {
  if (!isDevice(from, bytes))
    return InvalidValue;
  Exposed exposed;
  memcpy(to, reinterpret_cast<void *>(from), bytes);
  return Success;
}
int cuMemcpyDtoDAsync_v2(unsigned long long to, unsigned long long from,
                         size_t bytes, void *) {
  if (!isDevice(to, bytes) || !isDevice(from, bytes))
    return InvalidValue;
  Exposed exposed;
  memcpy(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), bytes);
  return Success;
}
int cuMemHostAlloc(void **pointer, size_t bytes, unsigned) {
  return (*pointer = malloc(bytes)) ? Success : OutOfMemory;
}
int cuMemFreeHost(void *pointer) { return free(pointer), Success; }
int cuMemGetInfo_v2(size_t *left, size_t *all) {
  *all = size_t(32) << 20; // a small device: caches take a share of it
  *left = *all;
  for (auto [address, bytes] : allocations)
    *left -= bytes < *left ? bytes : *left;
  return Success;
}
int cuMemsetD8Async(unsigned long long to, unsigned char value, size_t bytes,
                    void *) {
  if (!isDevice(to, bytes))
    return InvalidValue;
  Exposed exposed;
  memset(reinterpret_cast<void *>(to), value, bytes);
  return Success;
}
int cuStreamCreate(void **stream, unsigned) {
  static int one;
  return *stream = &one, Success;
}
int cuStreamDestroy_v2(void *) { return Success; }
int cuStreamSynchronize(void *) { return stickyError; }
/// All is done when it is asked for.
int cuStreamWaitEvent(void *, void *event, unsigned) {
  return event ? Success : InvalidValue;
}

/// Launches that are recorded instead of run.
struct Graph {
  struct Launch {
    Function *function;
    unsigned grid, threads, sharedBytes;
    std::string parameter;
  };
  std::vector<Launch> launches;
};
Graph *captured;

/// With FERRITE_FAKE_REPORT: what was launched, when the process ends.
struct Report {
  int launches = 0, graphs = 0;
  ~Report() {
    if (getenv("FERRITE_FAKE_REPORT"))
      fprintf(stderr, "fake driver: %d launches, %d of graphs\n", launches,
              graphs);
  }
} report;

int cuStreamBeginCapture_v2(void *, int) {
  if (captured)
    return InvalidValue;
  captured = new Graph;
  return Success;
}
int cuStreamEndCapture(void *, void **graph) {
  if (!captured)
    return InvalidValue;
  *graph = captured;
  captured = nullptr;
  return Success;
}
int cuGraphInstantiateWithFlags(void **executable, void *graph,
                                unsigned long long) {
  return *executable = new Graph(*static_cast<Graph *>(graph)), Success;
}
int cuGraphDestroy(void *graph) {
  return delete static_cast<Graph *>(graph), Success;
}
int cuGraphExecDestroy(void *executable) { return cuGraphDestroy(executable); }

int cuLaunchKernel(void *function, unsigned gridX, unsigned gridY,
                   unsigned gridZ, unsigned blockX, unsigned blockY,
                   unsigned blockZ, unsigned sharedBytes, void *,
                   void **parameters, void **) {
  auto *of = static_cast<Function *>(function);
  if (stickyError)
    return stickyError;
  if (gridX == 0 || gridY != 1 || gridZ != 1 || gridX > 0x7fffffff ||
      blockX == 0 || blockX > 1024 || blockY != 1 || blockZ != 1 ||
      int(blockX) > of->threads || int(sharedBytes) > of->sharedLimit ||
      of->parameters > 4096)
    return InvalidValue;
  // Addresses of this process's other memory mean nothing on a GPU.
  for (int at = 0; at + 8 <= of->parameters; at += 8) {
    uint64_t word;
    memcpy(&word, static_cast<const char *>(parameters[0]) + at, 8);
    if (word >> 44 != 0 && word >> 47 == 0 && !isDevice(word, 0)) {
      fprintf(stderr, "fake driver: an argument at %d is memory of the host\n",
              at);
      return stickyError = LaunchFailed;
    }
  }
  if (captured) {
    captured->launches.push_back(
        {of, gridX, blockX, sharedBytes,
         std::string(static_cast<const char *>(parameters[0]),
                     size_t(of->parameters))});
    return Success;
  }
  ++report.launches;
  Exposed exposed;
  // As a GPU does, the parameter is copied when the launch is asked for.
  std::string copy(static_cast<const char *>(parameters[0]),
                   size_t(of->parameters) + 64);
  void *aligned = aligned_alloc(64, copy.size() / 64 * 64 + 64);
  memcpy(aligned, copy.data(), size_t(of->parameters));
  std::string problem = emulateLaunch(
      {of->code, gridX, blockX, sharedBytes, aligned, of->machine});
  free(aligned);
  if (problem.empty())
    return Success;
  fprintf(stderr, "fake driver: %s\n", problem.c_str());
  return stickyError = LaunchFailed;
}

int cuGraphLaunch(void *executable, void *stream) {
  ++report.graphs;
  for (Graph::Launch &launch : static_cast<Graph *>(executable)->launches) {
    void *parameter = launch.parameter.data();
    if (int result = cuLaunchKernel(launch.function, launch.grid, 1, 1,
                                    launch.threads, 1, 1, launch.sharedBytes,
                                    stream, &parameter, nullptr))
      return result;
  }
  return Success;
}

/// The fields of the fake map are those that the emulation reads.
int cuTensorMapEncodeTiled(void *map, int type, unsigned rank, void *address,
                           const uint64_t *sizes, const uint64_t *strides,
                           const uint32_t *box, const uint32_t *, int,
                           int swizzle, int, int) {
  uint64_t element = type == 0 ? 1 : type == 1 ? 2 : 4;
  if (rank != 2 || swizzle != 3 || reinterpret_cast<uintptr_t>(address) % 16 ||
      reinterpret_cast<uintptr_t>(map) % 64 || strides[0] % 16 ||
      box[0] * element > 128 || box[1] > 256 || sizes[0] == 0 || sizes[1] == 0)
    return InvalidValue;
  uint64_t fields[16] = {reinterpret_cast<uintptr_t>(address),
                         element,
                         sizes[0],
                         sizes[1],
                         strides[0],
                         box[0],
                         box[1]};
  memcpy(map, fields, sizeof fields);
  return Success;
}

int cuEventCreate(void **event, unsigned) {
  return *event = new double(0), Success;
}
int cuEventDestroy_v2(void *event) {
  delete static_cast<double *>(event);
  return Success;
}
int cuEventRecord(void *event, void *) {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  *static_cast<double *>(event) =
      double(time.tv_sec) * 1e3 + double(time.tv_nsec) * 1e-6;
  return Success;
}
int cuEventElapsedTime(float *milliseconds, void *begin, void *end) {
  *milliseconds =
      float(*static_cast<double *>(end) - *static_cast<double *>(begin));
  return Success;
}
int cuGetErrorName(int, const char **name) { return *name = "FAKE", Success; }
int cuGetErrorString(int error, const char **text) {
  *text = error == InvalidValue   ? "invalid argument"
          : error == OutOfMemory  ? "out of memory"
          : error == NotFound     ? "named symbol not found"
          : error == LaunchFailed ? "unspecified launch failure"
                                  : "invalid image";
  return Success;
}

} // extern "C"
