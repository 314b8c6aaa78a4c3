// Element conversions, against definitions in double precision.
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "check.h"
#include "core/element.h"

namespace wl {
namespace {

uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// The finite half of these bits, sign aside; 2^16 in the place of infinity.
double half_magnitude(uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10);
  const double mantissa = bits & 0x3ffU;
  return exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(mantissa + 1024, exponent - 25);
}

double bfloat16_magnitude(uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 7);
  const double mantissa = bits & 0x7fU;
  return exponent == 0 ? std::ldexp(mantissa, -133) : std::ldexp(mantissa + 128, exponent - 134);
}

void check_every_half() {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = float_from_half(static_cast<uint16_t>(bits));
    const uint32_t magnitude = bits & 0x7fffU;
    if (magnitude > 0x7c00U) {
      CHECK(std::isnan(value));
      continue;
    }
    const double expected = magnitude == 0x7c00U ? HUGE_VAL : half_magnitude(magnitude);
    CHECK(std::fabs(double{value}) == expected);
    CHECK(std::signbit(value) == (bits >= 0x8000U));
    CHECK(half_from_float(value) == bits);
  }
}

// The middle between two neighbours goes to the even one; anything next to it goes to the nearer.
template <typename Magnitude, typename Convert>
void check_rounding(uint32_t infinity, uint32_t sign, const Magnitude& magnitude,
                    const Convert& convert) {
  for (uint32_t below = 0; below < infinity; ++below) {
    const double middle = (magnitude(below) + magnitude(below + 1)) / 2;
    const float value = static_cast<float>(middle);
    if (double{value} != middle) continue;  // finer than float32: no float32 is a tie
    const uint32_t even = below % 2 == 0 ? below : below + 1;
    const float less = float_of(bits_of(value) - 1), more = float_of(bits_of(value) + 1);
    CHECK(convert(value) == even);
    CHECK(convert(less) == below);
    CHECK(convert(more) == below + 1);
    CHECK(convert(-value) == (sign | even));
    CHECK(convert(-less) == (sign | below));
    CHECK(convert(-more) == (sign | (below + 1)));
  }
}

void check_special_values() {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  CHECK(half_from_float(kInfinity) == 0x7c00);
  CHECK(half_from_float(-kInfinity) == 0xfc00);
  CHECK(half_from_float(std::numeric_limits<float>::max()) == 0x7c00);
  CHECK(half_from_float(std::numeric_limits<float>::denorm_min()) == 0);
  CHECK(half_from_float(-0.0f) == 0x8000);
  CHECK(bfloat16_from_float(kInfinity) == 0x7f80);
  CHECK(bfloat16_from_float(std::numeric_limits<float>::max()) == 0x7f80);
  CHECK(bfloat16_from_float(-0.0f) == 0x8000);
  for (const uint32_t bits : {0x7f800001U, 0x7fc00000U, 0x7fffffffU, 0xff800001U, 0xffffffffU}) {
    CHECK((half_from_float(float_of(bits)) & 0x7fffU) > 0x7c00U);
    CHECK((bfloat16_from_float(float_of(bits)) & 0x7fffU) > 0x7f80U);
  }
}

void check_whole_codebooks() {
  const std::vector<float> values = {1.5f, -0.1f, 3e38f};
  std::vector<uint8_t> elements;
  CHECK(convert_elements(values, ElementType::kFloat32, &elements));
  CHECK(elements.size() == 12 && std::memcmp(elements.data(), values.data(), 12) == 0);
  CHECK(convert_elements(values, ElementType::kFloat64, &elements));
  const double doubles[] = {1.5, double{-0.1f}, double{3e38f}};
  CHECK(elements.size() == 24 && std::memcmp(elements.data(), doubles, 24) == 0);
  CHECK(convert_elements(values, ElementType::kFloat16, &elements));
  const uint16_t halves[] = {0x3e00, 0xae66, 0x7c00};
  CHECK(elements.size() == 6 && std::memcmp(elements.data(), halves, 6) == 0);
  CHECK(convert_elements(values, ElementType::kBfloat16, &elements));
  const uint16_t bfloats[] = {0x3fc0, 0xbdcd, 0x7f62};
  CHECK(elements.size() == 6 && std::memcmp(elements.data(), bfloats, 6) == 0);
  CHECK(convert_elements({}, ElementType::kFloat32, &elements));
  CHECK(elements.empty());
  for (int32_t type = -1; type < 30; ++type) {
    const size_t expected = type == 1 ? 4 : type == 11 ? 8 : type == 10 || type == 16 ? 2 : 0;
    CHECK(element_size(type) == expected);
  }
}

}  // namespace
}  // namespace wl

int main() {
  wl::check_every_half();
  wl::check_rounding(0x7c00, 0x8000, wl::half_magnitude, wl::half_from_float);
  wl::check_rounding(0x7f80, 0x8000, wl::bfloat16_magnitude, wl::bfloat16_from_float);
  wl::check_special_values();
  wl::check_whole_codebooks();
  return 0;
}
