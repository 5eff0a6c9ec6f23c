// RUN: ferrite-opt %s --ferrite-plan-memory --verify-diagnostics

plan.entry @size symbols = [] {
  // expected-error @below {{expects a size, but got batch + }}
  %0 = plan.buffer "batch + "
}
