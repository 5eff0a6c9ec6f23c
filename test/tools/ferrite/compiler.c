//===- compiler.c - A compiler that writes down what it was asked ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Takes the place of libferrite_compiler.so in tests of the program: they are
// about what the program makes of its arguments and of the library's answers.
// The model's name chooses the answer; the output file gets the options, one a
// line.
//
//===----------------------------------------------------------------------===//
#include "ferrite/compiler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint32_t ferriteCompilerApiVersion(void) {
#ifdef OTHER_VERSION
  return FERRITE_COMPILER_API_VERSION + 1;
#else
  return FERRITE_COMPILER_API_VERSION;
#endif
}
const char *ferriteCompilerVersion(void) { return "0"; }
const char *ferriteCompilerLLVMVersion(void) { return "0"; }

static const char summary[] =
    "{\"output\": \"o.so\", \"artifact_bytes\": 2097152,"
    " \"weights_bytes\": 1048576, \"weights_file\": null,"
    " \"levels\": [\"avx512\", \"avx2\"], \"onnx_nodes\": 364, \"launches\": "
    "55,"
    " \"fusions\": [{\"kind\": \"attention\", \"fused\": 5, \"candidates\": 6,"
    " \"records\": [{\"node\": \"/5/Softmax\", \"fused\": false,"
    " \"reason\": \"two masks\"}]}],"
    " \"notes\": [{\"node\": \"/6/Transpose\", \"reason\": \"copied\"}],"
    " \"kernels\": [{\"name\": \"k0\", \"kernel\": \"linear f32 8x64\","
    " \"launches\": 12}],"
    " \"arena\": [{\"shape\": {\"batch\": 1, \"sequence\": 128},"
    " \"naive\": 9437184, \"planned\": 1572864, \"lower_bound\": 1048576}],"
    " \"phases\": [{\"name\": \"import\", \"seconds\": 0.25}],"
    " \"seconds\": 3.5}";

static void answer(FerriteCompileResult *result, const char *text) {
  if (result && text) {
    char *copy = malloc(strlen(text) + 1);
    result->summary = strcpy(copy, text);
  }
}

void ferriteCompileResultDestroy(FerriteCompileResult *result) {
  if (!result)
    return;
  free((void *)result->summary);
  result->summary = NULL;
}

static const char *text(const char *value) { return value ? value : "-"; }

static void writeOptions(const FerriteCompileOptions *o) {
  FILE *file = fopen(o->output, "w");
  if (!file)
    return;
  fprintf(file, "model %s\nname %s\nemit %d\nweights %d %s\n", o->model,
          text(o->name), o->emit, o->weights_mode, text(o->weights_path));
  for (size_t i = 0; i < o->level_count; ++i)
    fprintf(file, "level %s\n", o->levels[i]);
  for (size_t i = 0; i < o->dim_count; ++i)
    fprintf(file, "dim %s %lld %lld\n", o->dims[i].name,
            (long long)o->dims[i].min,
            o->dims[i].max == INT64_MAX ? -1 : (long long)o->dims[i].max);
  for (size_t i = 0; i < o->require_fusion_count; ++i)
    fprintf(file, "gate %s\n", o->require_fusion[i]);
  fprintf(file, "report %s\nto %s\nfrom %s\ndump %s\ndebug %d\nthreads %d\n",
          text(o->report_path), text(o->compile_to), text(o->compile_from),
          text(o->dump_phases_to), o->debug, o->threads);
  fclose(file);
}

int32_t ferriteCompile(const FerriteCompileOptions *o,
                       FerriteCompileResult *result) {
  if (o->size != sizeof *o || result->size != sizeof *result)
    return FERRITE_COMPILE_BUG;
  if (strstr(o->model, "bad")) {
    o->diagnostic(o->diagnostic_data, FERRITE_SEVERITY_ERROR,
                  "node '/a\nb' (Add): expects two operands");
    o->diagnostic(o->diagnostic_data, FERRITE_SEVERITY_NOTE, "seen here");
    return FERRITE_COMPILE_USER_ERROR;
  }
  if (strstr(o->model, "later")) {
    o->diagnostic(o->diagnostic_data, FERRITE_SEVERITY_ERROR,
                  "node 'n' (Foo): the op is not supported");
    return FERRITE_COMPILE_UNSUPPORTED;
  }
  if (strstr(o->model, "silent"))
    return FERRITE_COMPILE_USER_ERROR;
  if (strstr(o->model, "nojson")) {
    answer(result, "{");
    return FERRITE_COMPILE_OK;
  }
  if (strstr(o->model, "slow")) // ten seconds, unless it is told to stop
    for (uint64_t step = 0; step < 1000; ++step) {
      if (o->progress(o->progress_data, "codegen", step, 1000)) {
        o->diagnostic(o->diagnostic_data, FERRITE_SEVERITY_ERROR, "stopped");
        return FERRITE_COMPILE_USER_ERROR;
      }
      usleep(10000);
    }
  if (o->progress && (o->progress(o->progress_data, "import", 0, 0) ||
                      o->progress(o->progress_data, "codegen", 1, 2)))
    return FERRITE_COMPILE_USER_ERROR;
  if (strstr(o->model, "warn"))
    o->diagnostic(o->diagnostic_data, FERRITE_SEVERITY_WARNING, "old opset");
  writeOptions(o);
  answer(result, summary);
  return FERRITE_COMPILE_OK;
}

int32_t ferriteCheck(const FerriteCheckOptions *o,
                     FerriteCompileResult *result) {
  answer(result, "{\"onnx_nodes\": 7, \"problems\": []}");
  if (!strstr(o->model, "bad"))
    return FERRITE_COMPILE_OK;
  o->diagnostic(o->diagnostic_data, FERRITE_SEVERITY_ERROR, "node 'a': one");
  o->diagnostic(o->diagnostic_data, FERRITE_SEVERITY_ERROR, "node 'b': two");
  return FERRITE_COMPILE_UNSUPPORTED;
}

/// Returns what it was given: the first input's first element is the error.
int32_t ferriteVerify(const FerriteVerifyOptions *o,
                      FerriteCompileResult *result) {
  const FerriteTensor *mask = &o->inputs[1];
  double error = ((const float *)mask->data)[0];
  char json[512];
  snprintf(json, sizeof json,
           "{\"values\": [{\"name\": \"/e/out\", \"relative_l2\": %g,"
           " \"max_abs\": null}, {\"name\": \"%s\", \"output\": true,"
           " \"relative_l2\": 1e-7, \"max_abs\": 2e-6}]}",
           error, mask->name);
  answer(result, json);
  if (o->max_error == 0 || error <= o->max_error)
    return FERRITE_COMPILE_OK;
  o->diagnostic(o->diagnostic_data, FERRITE_SEVERITY_ERROR,
                "value '/e/out' has a relative error of 0.5");
  return FERRITE_COMPILE_USER_ERROR;
}
