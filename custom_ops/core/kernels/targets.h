// Which of the compiled CPU targets runs.
#ifndef WL_CORE_KERNELS_TARGETS_H_
#define WL_CORE_KERNELS_TARGETS_H_

#include <vector>

#include "core/kernels/kernel.h"

namespace wl {

// The kernel in use: the best that this build has and this machine runs, until set_target.
const Kernel& current_kernel();

// The targets that this build has and this machine runs, best first; "baseline" is always last.
std::vector<const char*> available_targets();

// For tests: not to be called while anything decodes. False, with no change, where the target is
// not available.
bool set_target(const char* name);

}  // namespace wl

#endif  // WL_CORE_KERNELS_TARGETS_H_
