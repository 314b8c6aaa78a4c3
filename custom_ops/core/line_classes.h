// Lines of a matrix, rows or columns, put into classes by the symbols that they hold.
#ifndef WL_CORE_LINE_CLASSES_H_
#define WL_CORE_LINE_CLASSES_H_

#include <cstdint>

#include "core/status.h"

namespace wl {

// Lloyd's rounds for classes of lines: each class's bits follow from the shares of its symbols
// where half a count is spread over the symbols, then each line goes to the class in which it costs
// the fewest bits, the first of those that cost the same. A class may lose all of its lines.
//   counts: [num_lines][num_contexts][num_symbols], whole numbers whose sum is below 2^53; shares
//   are those of a class and context. num_symbols: 1 or more.
//   classes: [num_lines], below num_classes: what to begin with, and the result.
// The same for any num_threads.
// Errors: kInvalidArgument where a class is out of range; kOutOfMemory.
Status classify_lines(const double* counts, uint64_t num_lines, uint64_t num_contexts,
                      uint64_t num_symbols, uint32_t num_classes, uint32_t num_rounds,
                      uint32_t num_threads, int64_t* classes);

}  // namespace wl

#endif  // WL_CORE_LINE_CLASSES_H_
