"""Prints a function of N tanh, one after the other, of x or of its sums."""
import sys

count, first = int(sys.argv[1]), sys.argv[2]
print("func.func @main(%x: tensor<8x4xf16>) -> tensor<8xf16> {")
print("  %v0 = ferrite.reduce sum %x axes = [1] : tensor<8x4xf16> -> tensor<8xf16>")
if first == "elementwise":
    print("  %w = arith.constant dense<[1., 2., 3., 4., 5., 6., 7., 8.]> : tensor<8xf16>")
    print("  %v0b = ferrite.div %v0, %w : (tensor<8xf16>, tensor<8xf16>) -> tensor<8xf16>")
value = "%v0b" if first == "elementwise" else "%v0"
for i in range(1, count + 1):
    print(f"  %v{i} = ferrite.tanh {value} : (tensor<8xf16>) -> tensor<8xf16>")
    value = f"%v{i}"
print(f"  return {value} : tensor<8xf16>\n}}")
