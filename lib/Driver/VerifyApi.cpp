#include "ferrite/compiler.h"
int32_t ferriteVerify(const FerriteVerifyOptions *, FerriteCompileResult *) {
  return FERRITE_COMPILE_UNSUPPORTED;
}
