// Seeds that nobody gave.
#ifndef WL_CORE_ENTROPY_H_
#define WL_CORE_ENTROPY_H_

#include <cstdint>

namespace wl {

// 64 bits that differ from call to call and from process to process. Any thread; never throws.
uint64_t fresh_seed();

}  // namespace wl

#endif  // WL_CORE_ENTROPY_H_
