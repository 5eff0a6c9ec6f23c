//===- Start.c - Where a program of --emit=exe begins ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What crt1.o, crti.o and crtbegin.o do, which only machines with a C compiler
// have. The C library's part is __libc_start_main; constructors are called here
// and not by it, because it does so only since glibc 2.34, and then only when
// it is given no function that does.
//
//===----------------------------------------------------------------------===//
typedef void (*Constructor)(int argc, char **argv, char **environment);

#define HIDDEN __attribute__((visibility("hidden")))
extern const Constructor __preinit_array_start[] HIDDEN;
extern const Constructor __preinit_array_end[] HIDDEN;
extern const Constructor __init_array_start[] HIDDEN;
extern const Constructor __init_array_end[] HIDDEN;

/// Tells this module's destructors from those of libraries: of a program, any
/// address, and crtbegin.o has null.
HIDDEN void *__dso_handle = 0;

__attribute__((used)) static void construct(int argc, char **argv,
                                            char **environment) {
  for (const Constructor *next = __preinit_array_start;
       next != __preinit_array_end; ++next)
    (*next)(argc, argv, environment);
  for (const Constructor *next = __init_array_start; next != __init_array_end;
       ++next)
    (*next)(argc, argv, environment);
}

// The kernel enters with argc at the stack pointer, and in %rdx the function
// of the loader that is to be called at exit:
// __libc_start_main(main, argc, argv, init, fini, rtld_fini, stack_end).
__asm__(".text\n"
        ".globl _start\n"
        ".type _start, @function\n"
        "_start:\n"
        "  .cfi_startproc\n"
        "  .cfi_undefined %rip\n"
        "  xorl %ebp, %ebp\n"
        "  movq %rdx, %r9\n"
        "  popq %rsi\n"
        "  movq %rsp, %rdx\n"
        "  andq $-16, %rsp\n"
        "  pushq %rax\n"
        "  pushq %rsp\n"
        "  xorl %r8d, %r8d\n"
        "  leaq construct(%rip), %rcx\n"
        "  leaq main(%rip), %rdi\n"
        "  call *__libc_start_main@GOTPCREL(%rip)\n"
        "  hlt\n"
        "  .cfi_endproc\n"
        ".size _start, . - _start\n");
