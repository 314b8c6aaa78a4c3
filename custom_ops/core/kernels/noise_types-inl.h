// Vectors of kWidth lanes in the compiler's own form, for the file of a CPU target, which has said
// what kWidth is.

typedef float Floats __attribute__((vector_size(4 * kWidth)));
typedef uint32_t Words __attribute__((vector_size(4 * kWidth)));
typedef int32_t Ints __attribute__((vector_size(4 * kWidth)));
typedef uint64_t Wides __attribute__((vector_size(4 * kWidth)));
typedef uint16_t Halves __attribute__((vector_size(2 * kWidth)));

template <typename Vector, typename T>
inline Vector load(const T* at) {
  Vector vector;
  __builtin_memcpy(&vector, at, sizeof(vector));
  return vector;
}

inline void store(float* at, Floats vector) { __builtin_memcpy(at, &vector, sizeof(vector)); }
