#include "core/kernels/targets.h"

#include <atomic>
#include <cstring>

namespace wl {
namespace {

// Best first; ends with null.
const Kernel* const* runnable_kernels() {
  static const Kernel* kernels[4] = {};
  static const bool filled = [] {
    int count = 0;
#ifdef WL_HAVE_X86_TARGETS
    __builtin_cpu_init();
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
                          __builtin_cpu_supports("popcnt");
    if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi") &&
        __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vpopcntdq") &&
        __builtin_cpu_supports("gfni")) {
      kernels[count++] = &kKernelAvx512;
    }
    if (has_avx2) kernels[count++] = &kKernelAvx2;
#endif
    kernels[count] = &kKernelBaseline;
    return true;
  }();
  static_cast<void>(filled);
  return kernels;
}

std::atomic<const Kernel*>& selected() {
  static std::atomic<const Kernel*> kernel{runnable_kernels()[0]};
  return kernel;
}

}  // namespace

const Kernel& current_kernel() { return *selected().load(std::memory_order_acquire); }

std::vector<const char*> available_targets() {
  std::vector<const char*> names;
  for (const Kernel* const* kernel = runnable_kernels(); *kernel; ++kernel) {
    names.push_back((*kernel)->name);
  }
  return names;
}

bool set_target(const char* name) {
  for (const Kernel* const* kernel = runnable_kernels(); *kernel; ++kernel) {
    if (std::strcmp((*kernel)->name, name) == 0) {
      selected().store(*kernel, std::memory_order_release);
      return true;
    }
  }
  return false;
}

}  // namespace wl
