// Where the values of a matrix fragment lie: lane and register to row and column, as in the tables
// of the PTX ISA ("Matrix fragments for mma.m16n8k16", "… mma.m16n8k8", ldmatrix). Of a lane, the
// ISA's groupID is lane / 4 and its threadID_in_group lane % 4.
#pragma once

namespace fastloss::emulator {

struct Place {
  int row, col;
};

// m16n8k16 of 16-bit values, two to a register: a 16 × 16, value i = 0 … 7.
constexpr Place place_a16(int lane, int i) {
  return {lane / 4 + (i % 4 < 2 ? 0 : 8), lane % 4 * 2 + i % 2 + (i < 4 ? 0 : 8)};
}
// b 16 × 8, value i = 0 … 3.
constexpr Place place_b16(int lane, int i) {
  return {lane % 4 * 2 + i % 2 + (i < 2 ? 0 : 8), lane / 4};
}
// m16n8k8 of tf32 values: a 16 × 8, value i = 0 … 3.
constexpr Place place_a32(int lane, int i) {
  return {lane / 4 + (i % 2 == 0 ? 0 : 8), lane % 4 + (i < 2 ? 0 : 4)};
}
// b 8 × 8, value i = 0, 1.
constexpr Place place_b32(int lane, int i) { return {lane % 4 + (i == 0 ? 0 : 4), lane / 4}; }
// c 16 × 8 of both, value i = 0 … 3.
constexpr Place place_c(int lane, int i) {
  return {lane / 4 + (i < 2 ? 0 : 8), lane % 4 * 2 + i % 2};
}
// ldmatrix: value i = 0, 1 of a lane's register, in a matrix of 8 × 8.
constexpr Place place_matrix(int lane, int i) { return {lane / 4, lane % 4 * 2 + i}; }

}  // namespace fastloss::emulator
