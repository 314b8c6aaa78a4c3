// The least that a test program needs.
#ifndef WL_TESTS_NATIVE_CHECK_H_
#define WL_TESTS_NATIVE_CHECK_H_

#include <cstdio>
#include <cstdlib>

// Ends the program with 1 where `condition` does not hold.
#define CHECK(condition)                                                              \
  do {                                                                                \
    if (!(condition)) {                                                               \
      std::fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                                   \
    }                                                                                 \
  } while (false)

#endif  // WL_TESTS_NATIVE_CHECK_H_
