//===- CProgram.c - A C program with a model linked in --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Compiled as strict C11 and linked by the C driver with the static runtime:
// what a user's program does.
//
//===----------------------------------------------------------------------===//
#include "ferrite/runtime.h"

#include <stdio.h>

extern const FerriteAbiModel ferrite_model;

int main(void) {
  FerriteError error = {FERRITE_OK, ""};
  FerriteModel *model = NULL;
  FerriteSession *session = NULL;
  float x[3] = {1, 2, 3}, y[3] = {0, 0, 0};
  FerriteTensor input = {.data = x,
                         .bytes = sizeof x,
                         .name = "x",
                         .dtype = FERRITE_F32,
                         .rank = 1,
                         .shape = {3}};
  FerriteTensor output = {.data = y, .bytes = sizeof y, .name = "y"};
  if (ferriteModelOpen(&ferrite_model, NULL, &model, &error) ||
      ferriteSessionCreate(model, NULL, NULL, &session, &error) ||
      ferriteSessionRun(session, &input, 1, &output, 1, &error)) {
    fprintf(stderr, "%s\n", error.message);
    return 1;
  }
  ferriteSessionDestroy(session);
  ferriteModelRelease(model);
  printf("%g %g %g\n", y[0], y[1], y[2]);
  return y[0] == 1.5f && y[1] == 2.5f && y[2] == 3.5f ? 0 : 1;
}
