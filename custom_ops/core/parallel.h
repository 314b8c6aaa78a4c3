// Runs numbered tasks on several threads.
#ifndef WL_CORE_PARALLEL_H_
#define WL_CORE_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

namespace wl {

// Calls run(worker, task) once for each task in 0 .. num_tasks - 1; tasks are handed out in order,
// and `worker` (below num_workers) tells which thread runs it. `run` must not throw. Where the
// system refuses another thread, those that there are do the work.
template <typename Run>
void parallel_for(uint64_t num_tasks, uint32_t num_workers, const Run& run) {
  std::atomic<uint64_t> next{0};
  const auto work = [&](uint32_t worker) {
    for (uint64_t task; (task = next.fetch_add(1)) < num_tasks;) run(worker, task);
  };
  std::vector<std::thread> threads;
  const uint64_t useful = std::min<uint64_t>(num_workers, num_tasks);
  for (uint32_t worker = 1; worker < useful; ++worker) {
    try {
      threads.emplace_back(work, worker);
    } catch (const std::system_error&) {
      break;
    }
  }
  work(0);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace wl

#endif  // WL_CORE_PARALLEL_H_
