// What the lanes of a warp do together: exchanges, matrix loads, matrix products. Part of
// emulator.cpp. None of it orders the lanes' memory accesses: only barriers do.

#include "fragments.h"

namespace fastloss::emulator {

void shuffle(const void* value, void* result, size_t words, int from, Site site) {
  struct Operands {
    const void* value;
    void* result;
    size_t words;
    int from;
  } operands{value, result, words, from};
  together(operands, site, [](Operands** lanes) {
    for (int i = 0; i < kWarp; ++i) {
      const Operands& to = *lanes[i];
      copy_words(to.result, lanes[to.from]->value, to.words);
    }
  });
}

namespace {

struct Mma {
  float* c;
  const uint32_t* a;
  const uint32_t* b;
};

// Products are exact in float, and added to c one after the other: the ISA promises about single
// precision, and no order.
template <int kInner>
void add_product(Mma** lanes, const float (&a)[16][kInner], const float (&b)[kInner][8]) {
  float c[16][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    for (int i = 0; i < 4; ++i) c[place_c(lane, i).row][place_c(lane, i).col] = lanes[lane]->c[i];
  }
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < kInner; ++k) {
      for (int col = 0; col < 8; ++col) c[row][col] += a[row][k] * b[k][col];
    }
  }
  for (int lane = 0; lane < kWarp; ++lane) {
    for (int i = 0; i < 4; ++i) lanes[lane]->c[i] = c[place_c(lane, i).row][place_c(lane, i).col];
  }
}

template <class Half>
float half_of(const uint32_t* registers, int i) {
  return static_cast<float>(Half{static_cast<uint16_t>(registers[i / 2] >> (i % 2 * 16))});
}

template <class Half>
void multiply_halves(Mma** lanes) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    for (int i = 0; i < 8; ++i) {
      const Place place = place_a16(lane, i);
      a[place.row][place.col] = half_of<Half>(lanes[lane]->a, i);
    }
    for (int i = 0; i < 4; ++i) {
      const Place place = place_b16(lane, i);
      b[place.row][place.col] = half_of<Half>(lanes[lane]->b, i);
    }
  }
  add_product(lanes, a, b);
}

// The lowest 13 bits of a register are not read: a float that was not rounded is cut off.
float tf32_of(uint32_t bits) {
  const bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
  return fastloss::detail::float_of(is_nan ? bits | 0x00400000 : bits & 0xffffe000);
}

void multiply_tf32(Mma** lanes) {
  float a[16][8], b[8][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const Place place = place_a32(lane, i);
      a[place.row][place.col] = tf32_of(lanes[lane]->a[i]);
    }
    for (int i = 0; i < 2; ++i) {
      const Place place = place_b32(lane, i);
      b[place.row][place.col] = tf32_of(lanes[lane]->b[i]);
    }
  }
  add_product(lanes, a, b);
}

}  // namespace

}  // namespace fastloss::emulator

namespace fastloss::device {

uint32_t ballot(bool condition, Site site) {
  struct Operands {
    bool condition;
    uint32_t result;
  } operands{condition, 0};
  together(operands, site, [](Operands** lanes) {
    uint32_t bits = 0;
    for (int i = 0; i < kWarp; ++i) bits |= uint32_t{lanes[i]->condition} << i;
    for (int i = 0; i < kWarp; ++i) lanes[i]->result = bits;
  });
  return operands.result;
}

void load_matrices(uint32_t (&out)[4], const void* shared, Site site) {
  running(site);
  array_of(shared, "a matrix row", site);
  struct Operands {
    unsigned char row[16];
    uint32_t* out;
  } operands{{}, out};
  note_read(shared, 16);
  copy_bytes(operands.row, shared, 16);
  together(operands, site, [](Operands** lanes) {
    for (int lane = 0; lane < kWarp; ++lane) {
      for (int matrix = 0; matrix < 4; ++matrix) {
        for (int i = 0; i < 2; ++i) {
          const Place place = place_matrix(lane, i);
          const unsigned char* const value = lanes[8 * matrix + place.row]->row + 2 * place.col;
          auto* const out = reinterpret_cast<unsigned char*>(&lanes[lane]->out[matrix]);
          copy_bytes(out + 2 * i, value, 2);
        }
      }
    }
  });
}

template <>
void multiply<BFloat16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site) {
  Mma operands{c, a, b};
  together(operands, site, multiply_halves<BFloat16>);
}
template <>
void multiply<Float16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site) {
  Mma operands{c, a, b};
  together(operands, site, multiply_halves<Float16>);
}
template <>
void multiply<TF32>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site) {
  Mma operands{c, a, b};
  together(operands, site, multiply_tf32);
}

// cvt.rna.tf32: to nearest, ties away from zero.
uint32_t to_tf32(float value) {
  if (value != value) return 0x7fffffff;
  return (fastloss::detail::bits_of(value) + 0x1000) & 0xffffe000;
}

}  // namespace fastloss::device
