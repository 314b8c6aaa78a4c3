#include "core/entropy.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <random>

namespace wl {
namespace {

// Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014): mix64 of
// SplitMix, in the constants of Stafford's variant 13.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

uint64_t fresh_seed() {
  static std::atomic<uint64_t> calls{0};
  uint64_t entropy =
      static_cast<uint64_t>(std::chrono::high_resolution_clock::now().time_since_epoch().count());
  try {
    std::random_device device;
    entropy ^= uint64_t{device()} << 32 | device();
  } catch (const std::exception&) {  // a system without such a device
  }
  return mix(entropy + (calls.fetch_add(1) + 1) * 0x9e3779b97f4a7c15ULL);
}

}  // namespace wl
