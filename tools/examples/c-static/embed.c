//===- embed.c - A sentence's embedding, from a model in the program ------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//   embed 101 7592 2088 102
//
// Takes the token ids of one sentence and prints its embedding, a number a
// line.
//
//===----------------------------------------------------------------------===//
#include "minilm.h"

#include "ferrite/runtime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int failWith(const FerriteError *error) {
  fprintf(stderr, "embed: %s\n", error->message);
  return 1;
}

static int print(const FerriteTensor *embedding) {
  const float *values = embedding->data;
  for (int64_t i = 0; i < embedding->shape[1]; ++i)
    printf("%.9g\n", values[i]); // nine digits give the same float back
  return 0;
}

static int embed(FerriteSession *session, int64_t *ids, int64_t *mask,
                 int64_t *types, int64_t count) {
  uint64_t bytes = (uint64_t)count * sizeof *ids;
  FerriteTensor inputs[] = {
      {ids, bytes, "input_ids", FERRITE_I64, 2, {1, count}},
      {mask, bytes, "attention_mask", FERRITE_I64, 2, {1, count}},
      {types, bytes, "token_type_ids", FERRITE_I64, 2, {1, count}}};
  // No memory of ours: the session owns the result until its next run.
  FerriteTensor output = {.name = "sentence_embedding"};
  FerriteError error;
  if (ferriteSessionRun(session, inputs, 3, &output, 1, &error))
    return failWith(&error);
  return print(&output);
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: embed ID...\n");
    return 1;
  }
  size_t count = (size_t)argc - 1;
  int64_t *ids = calloc(3 * count, sizeof *ids);
  if (!ids)
    return 1;
  int64_t *mask = ids + count, *types = mask + count; // types stay 0
  for (size_t i = 0; i < count; ++i) {
    char *end;
    errno = 0;
    ids[i] = strtoll(argv[i + 1], &end, 10);
    if (errno || *end || end == argv[i + 1]) {
      fprintf(stderr, "embed: '%s' is not a token id\n", argv[i + 1]);
      free(ids);
      return 1;
    }
    mask[i] = 1;
  }

  FerriteError error;
  FerriteModel *model = NULL;
  FerriteSession *session = NULL;
  int code;
  if (ferriteModelOpen(&ferrite_model_minilm, NULL, &model, &error) ||
      ferriteSessionCreate(model, NULL, NULL, &session, &error))
    code = failWith(&error);
  else
    code = embed(session, ids, mask, types, (int64_t)count);
  ferriteSessionDestroy(session);
  ferriteModelRelease(model);
  free(ids);
  return code;
}
