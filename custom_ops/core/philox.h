// Philox4x32-10, the counter-based generator behind every draw of noise.
//
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011),
// section 3.3; ten rounds.
#ifndef WL_CORE_PHILOX_H_
#define WL_CORE_PHILOX_H_

#include <cstdint>

namespace wl {

// words[0 .. 3] of one counter and key, one word at a time: what the kernels are held to. Any
// thread.
void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]);

}  // namespace wl

#endif  // WL_CORE_PHILOX_H_
